"""The parts of the comparison that start nothing: python3 -B -m unittest discover benches/compare"""

import sys
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import drive
import plot
import report
import servers
from rows import AIMS, QUICK, ROWS


def rounds(*figures):
    """Rounds of (rate, CPU µs)."""
    return [{"rate": rate, "cpu_us": cpu, "p50_us": 10, "p99_us": None, "resident": 1 << 20, "core": 1.0, "errors": 1}
            for rate, cpu in figures]


def row(**of_servers):
    return {"title": "", "servers": report.summary(of_servers)}


class Summaries(unittest.TestCase):
    def test_ratios_are_of_the_same_round(self):
        # By medians it were 300 / 200; within rounds it is twice, once and thrice.
        told = report.summary({"larder": rounds((200, 5), (300, 5), (600, 5)), "nginx": rounds((100, 10), (300, 10), (200, 10))})
        self.assertEqual(told["larder"]["ratios"]["rate"], {"median": 2.0, "min": 1.0, "max": 3.0})
        self.assertEqual(told["larder"]["medians"]["rate"], 300)
        self.assertEqual(told["larder"]["ratios"]["cpu_us"]["median"], 0.5)

    def test_errors_add_up_and_have_no_ratio(self):
        told = report.summary({"larder": rounds((1, 1), (1, 1)), "nginx": rounds((1, 1), (1, 1))})
        self.assertEqual(told["larder"]["medians"]["errors"], 2)
        self.assertNotIn("errors", told["larder"]["ratios"])

    def test_what_was_not_measured_has_no_figure(self):
        told = report.summary({"larder": rounds((1, 1)), "nginx": rounds((1, 0))})
        self.assertIsNone(told["larder"]["medians"]["p99_us"])
        self.assertNotIn("cpu_us", told["larder"]["ratios"])
        self.assertEqual(report.summary({"larder": rounds((1, 1))})["larder"]["ratios"], {})

    def test_a_percentile_is_one_of_the_values(self):
        self.assertEqual([drive.percentile(list(range(100)), p) for p in (0, 50, 99, 100)], [0, 50, 99, 99])
        self.assertIsNone(drive.percentile([], 50))


class Aims(unittest.TestCase):
    def verdict(self, rows, name, what):
        return next(a[5] for a in report.judge(rows) if a[:2] == (name, what))

    def test_an_aim_is_met_at_its_edge(self):
        even = {"pass": row(larder=rounds((100, 10)), nginx=rounds((100, 10)))}
        self.assertEqual(self.verdict(even, "pass", "rate"), "met")
        self.assertEqual(self.verdict(even, "pass", "cpu_us"), "met")
        worse = {"pass": row(larder=rounds((99, 11)), nginx=rounds((100, 10)))}
        self.assertEqual(self.verdict(worse, "pass", "rate"), "missed")
        self.assertEqual(self.verdict(worse, "pass", "cpu_us"), "missed")

    def test_values_are_compared_without_nginx(self):
        rows = {"conns-10000": row(larder=rounds((1, 1)))}
        self.assertEqual(self.verdict(rows, "conns-10000", "errors"), "missed")
        self.assertEqual(self.verdict(rows, "conns-10000", "rate"), "not measured")

    def test_a_row_that_failed_meets_nothing(self):
        rows = {"pass": row(larder=rounds((100, 10)), nginx=rounds((100, 10)))}
        rows["pass"]["servers"]["larder"]["failed"] = "ended"
        self.assertEqual(self.verdict(rows, "pass", "rate"), "not measured")

    def test_aims_and_quick_rows_are_of_rows_that_there_are(self):
        names = [r.name for r in ROWS]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({a[0] for a in AIMS} | set(QUICK), set(names))


class Tables(unittest.TestCase):
    def test_every_line_has_as_many_cells_as_its_head(self):
        figures = {"rate": 1, "cpu_us": 1, "p50_us": 1, "p99_us": 1, "resident": 1, "core": 1, "errors": 0, "last_s": 1,
                   "first_s": 1, "origin": 1, "bytes_per_key": 1}
        told = [report.summary({"larder": [figures], "nginx": [figures]})["larder"], {"cannot": "why"}, {"failed": "ended"}]
        for r in ROWS:
            for one in told:
                cells = report.line(r.name, "larder", one).count("|")
                self.assertEqual(cells, report.head(report.shape(r.name))[0].count("|"), (r.name, one))

    def test_it_is_said_when_the_machine_was_not_for_it_alone(self):
        for foreign, expected in ((0.01, False), (0.3, True)):
            rows = {"pass": row(larder=[{**rounds((1, 1))[0], "foreign": foreign}])}
            self.assertEqual("NOT ALONE" in report.table(rows), expected)

    def test_what_failed_is_said(self):
        rows = {"pass": {"title": "", "servers": {"larder": {"failed": "ended"}, "haproxy": {"cannot": "no disk"}}}}
        self.assertIn("pass: Larder FAILED: ended", report.table(rows))
        self.assertIn("no disk", report.table(rows))


class Picture(unittest.TestCase):
    def test_it_is_xml_with_a_bar_for_each_ratio(self):
        rows = {r.name: row(larder=rounds((300, 5)), nginx=rounds((100, 10)), haproxy=rounds((50, 2000))) for r in ROWS}
        root = ElementTree.fromstring(plot.svg(rows, "a < b & c"))
        titles = root.findall(".//{http://www.w3.org/2000/svg}rect/{http://www.w3.org/2000/svg}title")
        self.assertEqual(len(titles), 4 * len(ROWS))
        for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
            self.assertGreater(float(rect.get("width")), 0)

    def test_nothing_to_show_is_a_picture_too(self):
        ElementTree.fromstring(plot.svg({}, ""))
        ElementTree.fromstring(plot.svg({"pass": {"title": "", "servers": {"larder": {"failed": "ended"}}}}, ""))

    def test_the_axis_is_the_same_for_twice_and_half(self):
        self.assertAlmostEqual(plot.place(2) - plot.place(1), plot.place(1) - plot.place(0.5))
        self.assertEqual(plot.place(1000), plot.place(plot.MOST))


class Origins(unittest.TestCase):
    def check(self, kind, requests, seen, not_modified, is_good):
        driver = drive.Driver.__new__(drive.Driver)
        driver.row = next(r for r in ROWS if r.kind == kind)
        seen = {"requests": seen, "not_modified": not_modified}
        if is_good:
            return driver.check_origin(requests, seen)
        with self.assertRaises(drive.Wrong):
            driver.check_origin(requests, seen)

    def test_the_origin_saw_what_the_row_says(self):
        self.check("hit", 100_000, 0, 0, True)
        self.check("hit", 100_000, 500, 0, False)
        self.check("miss", 100_000, 100_050, 0, True)
        self.check("miss", 100_000, 50_000, 0, False)
        self.check("pass", 100_000, 1, 0, False)
        self.check("revalidate", 100_000, 100_000, 100_000, True)
        self.check("revalidate", 100_000, 100_000, 90_000, False)
        self.check("revalidate", 100_000, 50_000, 50_000, False)


class Templates(unittest.TestCase):
    def test_lines_stay_by_their_flags(self):
        got = servers.fill_in("a @{x}\n  @on b\n@!on c\n@!off d", {"on": True, "off": False}, {"x": 7})
        self.assertEqual(got, "a 7\n  b\nd\n")

    def test_every_name_in_a_template_is_known(self):
        with self.assertRaises(KeyError):
            servers.fill_in("@{unknown}", {}, {})


if __name__ == "__main__":
    unittest.main()
