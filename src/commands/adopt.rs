//! `larder adopt`: what nginx has stored, taken into a zone.

use http::{HeaderName, HeaderValue};

use super::amounts::{bytes, count};
use super::snapshot::{Report, done, left_out, zone};
use super::{Failure, check, serve};
use crate::adopt::take::{Adopted, Wanted, adopt};
use crate::adopt::varying::Tries;
use crate::cli::adopt::Adopt;
use crate::clock::Clock;

/// Takes in what there is, and tells what was left out.
///
/// # Errors
/// It failed, or something damaged was left out, which was said.
pub fn run(asked: &Adopt) -> Result<(), Failure> {
    let file = asked.config();
    let file = file.ok_or_else(|| Failure::usage("say which configuration: `-c larder.toml`"))?;
    let config = check::load_only(&file)?;
    let zone = zone(&config, asked.zone.as_deref())?;
    let wanted = Wanted { key_is: asked.key_is.as_deref(), tries: tries(&asked.headers)? };
    let mut report = Report::default();
    let adopted = adopt((&config, zone), &asked.dir, &wanted, &Clock::Real, &mut report)?;
    let told = report.finish();
    serve::print(&describe(&adopted, &zone.name))?;
    done(adopted.left_out.damaged, told)
}

fn tries(headers: &[(String, String)]) -> Result<Tries, Failure> {
    let field = |(name, value): &(String, String)| {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(value);
        match (name, value) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            _ => Err(Failure::usage("`-H` needs a field, as in `Accept-Language: de`")),
        }
    };
    Ok(Tries { known: headers.iter().map(field).collect::<Result<_, _>>()? })
}

fn describe(adopted: &Adopted, zone: &str) -> String {
    let Adopted { responses, stale, body_bytes, left_out: out } = adopted;
    let mut text = format!(
        "adopted {} with {} into zone {zone}, {stale} of them stale\n",
        count(*responses, "response", "responses"),
        bytes(*body_bytes),
    );
    left_out(&mut text, out.damaged, "damaged");
    left_out(&mut text, out.foreign, "no files of nginx's cache");
    left_out(&mut text, out.passing, "written or removed by nginx at the moment");
    left_out(&mut text, out.known, "there already, as new or newer");
    left_out(&mut text, out.purged, "purged in this zone since, or perhaps so");
    left_out(&mut text, out.no_room, "without room: the zone is full");
    left_out(&mut text, out.no_route, "no request here has their key: see `--key-is`");
    left_out(
        &mut text,
        out.no_variant,
        "they vary, and which request filled them is not known: see `-H`",
    );
    left_out(&mut text, out.lost, "found by no request here, beside what the zone has");
    for (reason, number) in &out.refused {
        left_out(
            &mut text,
            *number,
            &format!("not to be stored by the rules of their route: {reason}"),
        );
    }
    text
}
