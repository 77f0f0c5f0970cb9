"""The parts of the comparison that start no server: python3 -B -m unittest discover tests/beside"""

import gzip
import json
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "benches")]
import compare
import scripts
import servers
from client import Answer, Connection
from compare import Difference, Rule
from origin import Origins, Page, Seen, pattern, represent
from steps import Ask, Told, get


def answer(status=200, body=b"x", framing="length", **fields):
    return Answer("HTTP/1.1", status, "OK", [(n.replace("_", "-"), v) for n, v in fields.items()], body, framing)


def whats(a, b):
    return [d.what for d in compare.answers(a, b)]


class Differences(unittest.TestCase):
    def test_equal_answers_have_none(self):
        self.assertEqual(whats(answer(A="1", B="2"), answer(B="2", A="1")), [])

    def test_each_field_is_told(self):
        found = compare.answers(answer(A="1", B="2"), answer(B="3", C="4"))
        self.assertEqual(found, [Difference("field a", "1", "-"), Difference("field b", "2", "3"), Difference("field c", "-", "4")])

    def test_names_are_compared_without_case_and_their_case_is_told(self):
        self.assertEqual(compare.answers(answer(Etag="1"), answer(etag="1")), [Difference("spelling of etag", "Etag", "etag")])

    def test_lines_of_one_name_are_counted(self):
        a, b = answer(A="1"), answer(A="1")
        a.fields.append(("A", "1"))
        self.assertEqual(compare.answers(a, b), [Difference("field a", "1 | 1", "1")])

    def test_behind_another_status_nothing_else_is_told(self):
        self.assertEqual(whats(answer(200, A="1"), answer(404, b"other", B="1")), ["status"])

    def test_lengths_follow_from_bodies_and_framings(self):
        self.assertEqual(whats(answer(body=b"x", Content_Length="1"), answer(body=b"xy", Content_Length="2")), ["body"])
        self.assertEqual(whats(answer(Content_Length="1"), answer(framing="chunked", Transfer_Encoding="chunked")), ["framing"])
        self.assertEqual(whats(answer(Content_Length="1"), answer(Content_Length="2")), ["field content-length"])

    def test_moments_may_be_named_a_second_apart(self):
        one, two, late = (f"Sat, 21 Nov 2026 20:00:{s} GMT" for s in ("01", "02", "30"))
        self.assertEqual(whats(answer(Expires=one), answer(Expires=two)), [])
        self.assertEqual(whats(answer(Expires=one), answer(Expires=late)), ["field expires"])
        self.assertEqual(whats(answer(Last_Modified=one), answer(Last_Modified=two)), ["field last-modified"])
        self.assertEqual(whats(answer(Date=one), answer(Date=late)), [])
        self.assertEqual(whats(answer(Date=one), answer()), ["field date"])

    def test_what_is_drawn_at_random_is_equal(self):
        a, b = (answer(206, b"--%b\r\nx" % mark, Content_Type=f"multipart/byteranges; boundary={mark.decode()}") for mark in (b"123", b"abcdef"))
        self.assertEqual(whats(a, b), [])

    def test_pages_of_nginx_are_known(self):
        page, other = answer(404, b"<center>nginx</center>", Content_Type="text/html"), answer(404, b"not found", Content_Type="text/plain")
        self.assertEqual(whats(page, other), ["own page: field content-type", "own page: body"])
        self.assertEqual(whats(answer(404, b"page of the origin"), other), ["field content-type", "body"])

    def test_compressed_bodies_are_compared_by_what_they_hold(self):
        a, b = (answer(body=gzip.compress(b"words " * 50, level), Content_Encoding="gzip") for level in (1, 9))
        self.assertNotEqual(a.body, b.body)
        self.assertEqual(whats(a, b), [])


class AtTheOrigin(unittest.TestCase):
    def seen(self, target="/", origin="origin", **fields):
        return Seen(origin, "GET", target, "HTTP/1.0", list(fields.items()), b"")

    def whats(self, a, b, step=get("/", 200)):
        return [d.what for d in compare.steps(Told([], a), Told([], b), step, "x-cache-status")]

    def test_numbers_fields_and_targets_are_told(self):
        self.assertEqual(self.whats([self.seen()], []), ["origin: requests"])
        self.assertEqual(self.whats([self.seen(A="1")], [self.seen("/x", A="2")]), ["origin: target", "origin: field a"])

    def test_behind_another_status_they_need_not_have_seen_the_same(self):
        found = compare.steps(Told([answer(200)], [self.seen()]), Told([answer(400)], []), get("/", 200), "x-cache-status")
        self.assertEqual([d.what for d in found], ["status"])

    def test_of_many_at_a_time_the_order_does_not_count(self):
        one, two = self.seen("/1"), self.seen("/2")
        self.assertEqual(self.whats([one, two], [two, one], SimpleNamespace(count=2)), [])
        self.assertEqual(self.whats([one, two], [two, one]), ["origin: target"] * 2)


class Rules(unittest.TestCase):
    rule = Rule("field via", "purpose", "why", nginx="^-$", larder="larder", where="^mirror")

    def kinds(self, difference, where="mirror: GET /"):
        return [r and r.kind for _, r in compare.classify([difference], where, [self.rule])]

    def test_a_rule_fits_by_all_it_says(self):
        self.assertEqual(self.kinds(Difference("field via", "-", "1.1 larder")), ["purpose"])
        self.assertEqual(self.kinds(Difference("field via", "-", "1.1 other")), [None])
        self.assertEqual(self.kinds(Difference("field via", "1.1 x", "1.1 larder")), [None])
        self.assertEqual(self.kinds(Difference("origin: field via", "-", "1.1 larder")), [None])
        self.assertEqual(self.kinds(Difference("field via", "-", "1.1 larder"), "gateway: GET /"), [None])

    def test_one_without_a_reason_makes_a_request_differ(self):
        tally = compare.Tally()
        for kinds in (set(), {"reference"}, {"purpose", "reference"}, {"purpose", None}):
            tally.count(2, kinds)
        self.assertEqual(vars(tally), {"requests": 8, "identical": 4, "purpose": 2, "differing": 2})

    def test_those_of_the_file_are_well_formed_and_none_is_there_twice(self):
        found = compare.rules()
        self.assertEqual({rule.kind for rule in found}, {"purpose", "reference"})
        said = [json.dumps(vars(rule)) for rule in found]
        self.assertEqual(len(said), len(set(said)))


class TheOrigin(unittest.TestCase):
    def ask(self, page, **given):
        seen = Seen("origin", "GET", "/x", "HTTP/1.1", [], b"")
        status, fields, body = represent(page, "origin", seen, {n.replace("_", "-"): v for n, v in given.items()})
        return status, dict(fields).get("Content-Range"), body

    def test_ranges_are_cut(self):
        page = Page(body="0123456789", ranges=True, etag='"1"')
        self.assertEqual(self.ask(page, range="bytes=2-3"), (206, "bytes 2-3/10", b"23"))
        self.assertEqual(self.ask(page, range="bytes=8-99"), (206, "bytes 8-9/10", b"89"))
        self.assertEqual(self.ask(page, range="bytes=-3"), (206, "bytes 7-9/10", b"789"))
        self.assertEqual(self.ask(page, range="bytes=4-"), (206, "bytes 4-9/10", b"456789"))
        self.assertEqual(self.ask(page, range="bytes=10-"), (416, "bytes */10", b""))
        self.assertEqual(self.ask(page, range="bytes=2-3", if_range='"0"'), (200, None, b"0123456789"))
        self.assertEqual(self.ask(Page(body="0123456789"), range="bytes=2-3"), (200, None, b"0123456789"))

    def test_conditions_are_answered(self):
        page = Page(body="x", etag='"1"', modified="yesterday")
        self.assertEqual([self.ask(page, **given)[0] for given in (
            {"if_none_match": '"1"'}, {"if_none_match": '"0"'}, {"if_modified_since": "yesterday"}, {"if_modified_since": "today"},
            {"if_none_match": '"0"', "if_modified_since": "yesterday"})], [304, 200, 304, 200, 200])

    def test_each_place_of_a_long_body_looks_different(self):
        body = pattern(100_000)
        self.assertEqual(len(body), 100_000)
        self.assertEqual(len({body[n:n + 8] for n in range(0, 100_000, 8)}), 12_500)

    def test_what_it_saw_is_told_once_and_what_it_is_to_say_goes_by_path_and_target(self):
        origins = Origins(["origin"], None)
        try:
            origins.pages |= {("", "/a"): Page(body="path"), ("", "/a?x"): Page(body="target"), ("origin", "/b"): Page(status=404)}

            def ask(target):
                connection = Connection(origins.ports()["origin"])
                connection.send(Ask("GET", target).head("host"))
                answer = connection.read()
                connection.close()
                return answer.status, answer.body
            self.assertEqual([ask(t) for t in ("/a?y", "/a?x", "/b", "/c?z")], [(200, b"path"), (200, b"target"), (404, b"/b\n"), (200, b"/c?z\n")])
            self.assertEqual([s.target for s in origins.take()], ["/a?y", "/a?x", "/b", "/c?z"])
            self.assertEqual(origins.take(), [])
            origins.running["origin"].down()
            self.assertRaises(OSError, ask, "/a")
            origins.running["origin"].up()
            self.assertEqual(ask("/c"), (200, b"/c\n"))
        finally:
            origins.close()


class Scripts(unittest.TestCase):
    def test_there_are_enough_of_them_for_each_kind(self):
        asked = {name: sum(step.requests for step in scripts.load(name).STEPS) for name in scripts.SCRIPTS}
        self.assertGreaterEqual(min(asked[name] for name in ("stock", "wordpress", "gateway", "mirror")), 150)

    def test_a_step_says_what_is_not_as_expected(self):
        server = SimpleNamespace(cache_field="x-cache-status", neutral=str)
        step = get("/", 200, "HIT", seen=0, has={"Etag": "^1$"}, lacks=("Age",), text="^y$", size=1)
        told = Told([answer(200, b"y", X_Cache_Status="HIT", ETag="1")])
        self.assertEqual(step.check(told, server), [])
        told = Told([answer(404, b"no", X_Cache_Status="MISS", ETag="2", Age="3")], [Seen("origin", "GET", "/", "HTTP/1.0", [], b"")])
        self.assertEqual(len(step.check(told, server)), 7)

    def test_ports_and_folders_are_no_difference(self):
        server = servers.Server.__new__(servers.Server)
        server.ports, server.folder = {"listen": 12345}, Path("/tmp/some/folder")
        self.assertEqual(server.neutral("http://a:12345/x /tmp/some/folder/y 12345"), "http://a:{listen}/x {dir}/y 12345")
        self.assertEqual(server.neutral(b"\xff:12345"), b"\xff:{listen}")


if __name__ == "__main__":
    unittest.main()
