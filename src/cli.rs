//! Arguments -> command; does nothing itself.

mod config_file;
mod examples;
mod values;
pub mod adopt;
pub mod control;
#[cfg(feature = "import")]
pub mod import;
pub mod purge;
pub mod snapshot;
pub mod stored;
pub mod zone;
pub mod upstream;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand};
use http::Uri;

use crate::config::AdminAddress;
pub use config_file::ConfigFile;
use control::{Control, To, What};
use examples::{
    CHECK_EXAMPLES, DEMO_EXAMPLES, EXAMPLES, EXPLAIN_EXAMPLES, INSPECT_EXAMPLES, PURGE_EXAMPLES,
    SERVE_EXAMPLES, STATS_EXAMPLES,
};
use values::{AdminChoice, admin, admin_or_none, field, origin, time};

/// What the operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve until told to stop.
    Serve(Serve),
    /// Say what is wrong with a configuration.
    Check(Check),
    /// Serve in front of a built-in slow API.
    Demo(Demo),
    /// Show the counters of a running server.
    Stats(Stats),
    /// Remove what a running server has stored.
    Purge(purge::Purge),
    /// Say what a running server would do with a request, and why.
    Explain(Explain),
    /// Carry what a zone holds to another machine.
    Snapshot(snapshot::Snapshot),
    /// Take over what nginx has stored.
    Adopt(adopt::Adopt),
    /// Show what a running server has stored for a request, and check it.
    Inspect(Inspect),
    /// Look at the files of a zone.
    Zone(zone::Zone),
    /// Have a running server read its configuration anew, end, or open its log anew.
    Control(control::Control),
    /// List servers, or take one out or back by hand.
    Upstream(upstream::Upstream),
    /// Make a configuration of nginx's.
    #[cfg(feature = "import")]
    Import(import::Import),
}

/// How to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serve {
    /// As a configuration file says.
    File(ConfigFile),
    /// In front of one origin, without a file.
    To(ServeTo),
}

/// How to serve without a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeTo {
    /// The origin: scheme `http` or `https`, a host, perhaps a path.
    pub origin: Uri,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The operator's listener, if there is to be one.
    pub admin: Option<AdminAddress>,
    /// Where the disk tier is.
    pub cache_dir: CacheDir,
    /// How long 200, 301 and 302 are fresh where the origin does not say; `None` is not at all.
    pub valid: Option<Duration>,
}

/// Where the disk tier of a server without a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheDir {
    /// In the user's cache folder: see `default_cache_dir`.
    User,
    /// Nowhere: responses rest in memory only.
    None,
    /// Here.
    Path(PathBuf),
}

/// What to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The configuration file.
    pub config: ConfigFile,
    /// Say nothing when all is well.
    pub quiet: bool,
}

/// How to show what it does.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Demo {
    /// Where clients connect
    #[arg(long, value_name = "ADDR", default_value = LISTEN_DEFAULT)]
    pub listen: SocketAddr,
    /// The operator's listener: a loopback address, `unix:PATH` or `none`
    #[arg(long, value_name = "ADDR", default_value = ADMIN_DEFAULT, value_parser = admin_or_none)]
    admin: AdminChoice,
}

impl Demo {
    /// The operator's listener, if there is to be one.
    pub fn admin(&self) -> Option<&AdminAddress> {
        self.admin.0.as_ref()
    }
}

/// Which server's counters to show, and how.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The server's operator listener: a loopback address or `unix:PATH`
    #[arg(long, value_name = "ADDR", default_value = ADMIN_DEFAULT, value_parser = admin)]
    pub admin: AdminAddress,
    /// Print the JSON document of `/v1/stats` instead of tables
    #[arg(long)]
    pub json: bool,
}

/// What to explain.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// The URL as clients ask for it, with scheme and host
    pub url: String,
    /// A request field, as often as needed
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    pub headers: Vec<(String, String)>,
    /// The method [default: GET]
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub method: Option<String>,
    /// The server's operator listener: a loopback address or `unix:PATH`
    #[arg(long, value_name = "ADDR", default_value = ADMIN_DEFAULT, value_parser = admin)]
    pub admin: AdminAddress,
    /// Print the JSON document of `/v1/explain` instead of text
    #[arg(long)]
    pub json: bool,
}

/// What to inspect.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Inspect {
    /// The URL as clients ask for it, with scheme and host
    pub url: String,
    /// A request field, as often as needed
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    pub headers: Vec<(String, String)>,
    /// The server's operator listener: a loopback address or `unix:PATH`
    #[arg(long, value_name = "ADDR", default_value = ADMIN_DEFAULT, value_parser = admin)]
    pub admin: AdminAddress,
    /// Print the JSON document of `/v1/inspect` instead of text
    #[arg(long)]
    pub json: bool,
}

/// The command of this process. On a usage error, and for `--help` and `--version`, prints and
/// ends the process: with 2, or with 0.
pub fn parse() -> Command {
    let config = std::env::var_os(CONFIG_VARIABLE);
    match parse_from(std::env::args_os(), config) {
        Ok(command) => command,
        Err(error) => error.exit(),
    }
}

/// The command that `arguments` ask for, the program's name first; `config` is the value of
/// `LARDER_CONFIG`.
///
/// # Errors
///
/// A usage error, or a request for help or the version; the caller prints it.
pub fn parse_from(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    config: Option<OsString>,
) -> Result<Command, clap::Error> {
    let written = Written::try_parse_from(arguments)?;
    let config = config.filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(what) = written.signal {
        let to = To::new(written.admin, written.nginx.file, config);
        return Ok(Command::Control(Control { what, to }));
    }
    Ok(match written.command {
        None if written.test => Command::Check(check(written.nginx, config)?),
        None => return Err(missing("say what to do: `-t` checks, `serve` serves")),
        Some(WrittenCommand::Check(written)) => Command::Check(check(written, config)?),
        Some(WrittenCommand::Serve(written)) => Command::Serve(serve(written, config)?),
        Some(WrittenCommand::Demo(demo)) => Command::Demo(demo),
        Some(WrittenCommand::Stats(stats)) => Command::Stats(stats),
        Some(WrittenCommand::Purge(purge)) => Command::Purge(purge),
        Some(WrittenCommand::Explain(explain)) => Command::Explain(explain),
        Some(WrittenCommand::Snapshot(what)) => Command::Snapshot(what.with_default(config)),
        Some(WrittenCommand::Adopt(adopt)) => Command::Adopt(adopt.with_default(config)),
        Some(WrittenCommand::Inspect(inspect)) => Command::Inspect(inspect),
        Some(WrittenCommand::Zone(zone)) => Command::Zone(zone.with_default(config)),
        Some(WrittenCommand::Control(control)) => Command::Control(control.checked(config)),
        Some(WrittenCommand::Upstream(upstream)) => Command::Upstream(upstream),
        #[cfg(feature = "import")]
        Some(WrittenCommand::Import(import)) => Command::Import(import),
    })
}

/// The user's cache folder for the values of `XDG_CACHE_HOME` and `HOME`; `None` when neither
/// says. Relative values are ignored (XDG Base Directory Specification).
pub fn default_cache_dir(
    xdg_cache_home: Option<OsString>,
    home: Option<OsString>,
) -> Option<PathBuf> {
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|p| p.is_absolute());
    let cache_home = absolute(xdg_cache_home).or_else(|| Some(absolute(home)?.join(".cache")));
    Some(cache_home?.join("larder"))
}

/// A caching reverse proxy
#[derive(Parser)]
#[command(name = "larder", version, arg_required_else_help = true, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
struct Written {
    #[command(subcommand)]
    command: Option<WrittenCommand>,
    /// Check the configuration, as `check` does
    #[arg(short = 't')]
    test: bool,
    #[command(flatten)]
    nginx: WrittenCheck,
    /// Tell a running server, as the commands of these names do
    #[arg(short = 's', value_name = "SIGNAL", conflicts_with_all = ["test", "quiet"])]
    signal: Option<What>,
    /// For `-s`: the server's operator listener [default: what the configuration says, or
    /// 127.0.0.1:9145]
    #[arg(long, value_name = "ADDR", value_parser = admin, requires = "signal")]
    #[arg(conflicts_with_all = ["config", "relative_to"])]
    admin: Option<AdminAddress>,
    /// Print version, as nginx does
    #[arg(short = 'v', action = ArgAction::Version)]
    version_too: Option<bool>,
}

#[derive(Subcommand)]
enum WrittenCommand {
    /// Serve until told to stop
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(WrittenServe),
    /// Check a configuration file and print every mistake in it
    #[command(after_help = CHECK_EXAMPLES)]
    Check(WrittenCheck),
    /// Try it out: serve in front of a built-in slow API
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(Demo),
    /// Show what a running server did: hits, misses, sizes, peers
    #[command(after_help = STATS_EXAMPLES)]
    Stats(Stats),
    /// Remove what a running server has stored: a URL, a prefix, a tag, or all
    #[command(after_help = PURGE_EXAMPLES)]
    Purge(purge::Purge),
    /// Say what a running server would do with a request, and why
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
    /// Carry what a zone holds to another machine, which then starts warm
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// Take over what nginx has stored, into a zone that no server works with
    #[command(after_help = examples::ADOPT_EXAMPLES)]
    Adopt(adopt::Adopt),
    /// Show what a running server has stored for a request, and check it
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(Inspect),
    /// Look at the files of a zone, with or without a running server
    #[command(subcommand)]
    Zone(zone::Zone),
    #[command(flatten)]
    Control(control::Written),
    /// List the servers of a running server's upstreams, or take one out or back by hand
    #[command(subcommand)]
    Upstream(upstream::Upstream),
    /// Make a configuration of nginx's, and say what became of each directive
    #[cfg(feature = "import")]
    #[command(after_help = examples::IMPORT_EXAMPLES)]
    Import(import::Import),
}

#[derive(Args)]
struct WrittenServe {
    /// Forward to this origin, without a configuration file
    #[arg(long, value_name = "URL", value_parser = origin, conflicts_with_all = ["config", "relative_to"])]
    to: Option<Uri>,
    /// Where clients connect
    #[arg(long, value_name = "ADDR", default_value = LISTEN_DEFAULT, requires = "to", conflicts_with = "config")]
    listen: SocketAddr,
    /// The operator's listener: a loopback address, `unix:PATH` or `none`
    #[arg(long, value_name = "ADDR", default_value = ADMIN_DEFAULT, requires = "to", conflicts_with = "config")]
    #[arg(value_parser = admin_or_none)]
    admin: AdminChoice,
    /// Where responses rest on disk, or `none` [default: $XDG_CACHE_HOME/larder, else
    /// $HOME/.cache/larder]
    #[arg(long, value_name = "DIR", requires = "to", conflicts_with = "config")]
    cache_dir: Option<PathBuf>,
    /// How long 200, 301 and 302 are fresh where the origin does not say, for example `10m`
    #[arg(long, value_name = "TIME", value_parser = time, requires = "to", conflicts_with = "config")]
    valid: Option<Duration>,
    #[command(flatten)]
    file: config_file::Named,
}

#[derive(Args)]
struct WrittenCheck {
    #[command(flatten)]
    file: config_file::Named,
    /// Print nothing when there is no mistake
    #[arg(short, long)]
    quiet: bool,
}

fn serve(mut written: WrittenServe, config: Option<PathBuf>) -> Result<Serve, clap::Error> {
    let Some(origin) = written.to else {
        written.file.or_default(config);
        return written.file.file().map(Serve::File).ok_or_else(|| {
            missing("say what to serve: `--to http://127.0.0.1:3000` or `-c larder.toml`")
        });
    };
    let cache_dir = match written.cache_dir {
        None => CacheDir::User,
        Some(path) if path.as_os_str() == "none" => CacheDir::None,
        Some(path) => CacheDir::Path(path),
    };
    let AdminChoice(admin) = written.admin;
    Ok(Serve::To(ServeTo {
        origin,
        listen: written.listen,
        admin,
        cache_dir,
        valid: written.valid,
    }))
}

fn check(mut written: WrittenCheck, config: Option<PathBuf>) -> Result<Check, clap::Error> {
    written.file.or_default(config);
    let config =
        written.file.file().ok_or_else(|| missing("say what to check: `-c larder.toml`"))?;
    Ok(Check { config, quiet: written.quiet })
}

fn missing(problem: &str) -> clap::Error {
    Written::command().error(ErrorKind::MissingRequiredArgument, problem)
}

const CONFIG_VARIABLE: &str = "LARDER_CONFIG";
const LISTEN_DEFAULT: &str = "127.0.0.1:8080";
const ADMIN_DEFAULT: &str = "127.0.0.1:9145";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Command, clap::Error> {
        parse_from(format!("larder {arguments}").split_whitespace().collect::<Vec<_>>(), None)
    }

    fn file(path: &str) -> ConfigFile {
        ConfigFile { path: path.into(), prefix: None }
    }

    #[test]
    fn the_definition_is_sound() {
        Written::command().debug_assert();
    }

    #[test]
    fn serve_to_has_defaults_that_need_no_file() {
        let expected = ServeTo {
            origin: Uri::from_static("http://127.0.0.1:3000"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: Some(AdminAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 9145)))),
            cache_dir: CacheDir::User,
            valid: None,
        };
        let command = parse("serve --to http://127.0.0.1:3000").unwrap();
        assert_eq!(command, Command::Serve(Serve::To(expected.clone())));
        let none = ServeTo { admin: None, cache_dir: CacheDir::None, ..expected.clone() };
        let command = parse("serve --to http://127.0.0.1:3000 --admin none --cache-dir none");
        assert_eq!(command.unwrap(), Command::Serve(Serve::To(none)));
        let ten = ServeTo { valid: Some(Duration::from_secs(600)), ..expected };
        let command = parse("serve --to http://127.0.0.1:3000 --valid 10m");
        assert_eq!(command.unwrap(), Command::Serve(Serve::To(ten)));
    }

    #[test]
    fn nginx_aliases_are_understood() {
        let check = Command::Check(Check { config: file("a.toml"), quiet: false });
        for arguments in ["check -c a.toml", "-t -c a.toml", "-tc a.toml"] {
            assert_eq!(parse(arguments).unwrap(), check, "{arguments}");
        }
        for arguments in ["-v", "-V", "--version"] {
            assert_eq!(parse(arguments).unwrap_err().kind(), ErrorKind::DisplayVersion);
        }
    }

    #[test]
    fn a_running_server_is_told_by_a_command_or_as_nginx_is() {
        let default = "127.0.0.1:9145".parse().unwrap();
        for (name, what) in [
            ("reload", What::Reload),
            ("stop", What::Stop),
            ("quit", What::Quit),
            ("reopen", What::Reopen),
        ] {
            let to = To::Admin(AdminAddress::Tcp(default));
            let expected = Command::Control(Control { what, to });
            assert_eq!(parse(name).unwrap(), expected);
            assert_eq!(parse(&format!("-s {name}")).unwrap(), expected);
        }
        let unix = AdminAddress::Unix("/run/a.sock".into());
        let expected = Command::Control(Control { what: What::Stop, to: To::Admin(unix) });
        assert_eq!(parse("stop --admin unix:/run/a.sock").unwrap(), expected);
        assert_eq!(parse("-s stop --admin unix:/run/a.sock").unwrap(), expected);
        let to = To::Config(ConfigFile { path: "/p/a.toml".into(), prefix: Some("/p".into()) });
        let expected = Command::Control(Control { what: What::Reload, to });
        for arguments in ["reload -p /p -c a.toml", "-s reload -p /p -c a.toml"] {
            assert_eq!(parse(arguments).unwrap(), expected, "{arguments}");
        }
        let command = parse_from(["larder", "-s", "stop"], Some("/e.toml".into())).unwrap();
        let expected = Control { what: What::Stop, to: To::Config(file("/e.toml")) };
        assert_eq!(command, Command::Control(expected));
        assert!(parse("-s stop -c a.toml --admin 127.0.0.1:1").is_err());
        assert!(parse("-s restart").is_err());
        assert!(parse("-s reload -t").is_err());
        assert!(parse("--admin 127.0.0.1:1").is_err());
    }

    #[test]
    fn the_environment_names_the_file_when_nothing_else_does() {
        let config = Some(OsString::from("/e.toml"));
        let command = parse_from(["larder", "serve"], config.clone()).unwrap();
        assert_eq!(command, Command::Serve(Serve::File(file("/e.toml"))));
        let command = parse_from(["larder", "serve", "-c", "a.toml"], config.clone()).unwrap();
        assert_eq!(command, Command::Serve(Serve::File(file("a.toml"))));
        let command = parse_from(["larder", "serve", "--to", "http://a"], config.clone()).unwrap();
        assert!(matches!(command, Command::Serve(Serve::To(_))));
        let command = parse_from(["larder", "-t"], config).unwrap();
        assert_eq!(command, Command::Check(Check { config: file("/e.toml"), quiet: false }));
    }

    #[cfg(feature = "import")]
    #[test]
    fn an_import_names_its_file_and_where_it_goes() {
        let plain = import::Import {
            file: "nginx.conf".into(),
            prefix: None,
            output: None,
            strict: false,
            json: false,
        };
        assert_eq!(parse("import nginx.conf").unwrap(), Command::Import(plain.clone()));
        let all = import::Import {
            prefix: Some("/etc/nginx".into()),
            output: Some("larder.toml".into()),
            strict: true,
            json: true,
            ..plain
        };
        let command = parse("import nginx.conf -p /etc/nginx -o larder.toml --strict --json");
        assert_eq!(command.unwrap(), Command::Import(all));
        assert!(parse("import").is_err());
    }

    #[test]
    fn a_zone_is_looked_for_where_it_is_said_before_the_environment() {
        let config = Some(OsString::from("/e.toml"));
        let at = |arguments: &[&str]| {
            let arguments = ["larder", "zone"].iter().chain(arguments);
            let Ok(Command::Zone(zone)) = parse_from(arguments, config.clone()) else { panic!() };
            let zone::Where { zone, stored } = zone.at().clone();
            let (config, cache_dir) = (stored.config(), stored.cache_dir);
            (zone, config.map(|file| file.path.display().to_string()), cache_dir.is_some())
        };
        let (ours, env) = (Some("a.toml".to_owned()), Some("/e.toml".to_owned()));
        assert_eq!(at(&["ls"]), (None, env.clone(), false));
        assert_eq!(at(&["du", "z"]), (Some("z".to_owned()), env, false));
        assert_eq!(at(&["verify", "-c", "a.toml"]), (None, ours, false));
        assert_eq!(at(&["ls", "--cache-dir", "d"]), (None, None, true));
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        for arguments in [
            "",
            "serve",
            "check",
            "-t",
            "-c a.toml",
            "frobnicate",
            "serve --to http://a -c a.toml",
            "serve -c a.toml --listen 127.0.0.1:80",
            "serve --to a.example",
            "serve --to ftp://a.example",
            "serve --to http://u:p@a.example",
            "serve --to http://a.example:99999",
            "serve --to http://a.example:",
            "serve --to http://a.example/?x",
            "serve --to http://a --listen here",
            "serve --to http://a --admin 0.0.0.0:9145",
            "serve --to http://a --admin unix:",
            "stats --admin none",
            "purge",
            "purge --soft",
            "purge http://a/ --all",
            "purge --prefix http://a/ --tag b",
            "purge http://a/ --zone b",
            "explain",
            "explain http://a/ -H nothing",
            "inspect",
            "inspect /a -H nothing",
            "zone",
            "zone ls a --cache-dir b",
            "zone du -c a --cache-dir b",
            "zone ls --sort colour",
            "zone du --depth -1",
        ] {
            let error = parse(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments}: {error}");
        }
    }

    #[test]
    fn the_cache_folder_follows_the_environment() {
        check("/x", "/home/a", Some("/x/larder"), "XDG_CACHE_HOME first");
        check("", "/home/a", Some("/home/a/.cache/larder"), "empty is unset");
        check("x", "/home/a", Some("/home/a/.cache/larder"), "relative is ignored");
        check("", "home", None, "nothing absolute");
        assert_eq!(default_cache_dir(None, None), None);
    }

    #[track_caller]
    fn check(xdg: &str, home: &str, expected: Option<&str>, why: &str) {
        let dir = default_cache_dir(Some(xdg.into()), Some(home.into()));
        assert_eq!(dir, expected.map(PathBuf::from), "{why}");
    }
}
