//! Settings from files: `.env`, and secrets by `X_FILE`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

/// A folder of files that only this user may write.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("written");
        set_mode(&path, 0o600);
        path.to_str().expect("text").to_owned()
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// As a program reads them.
fn start(
    program: Program,
    flags: &[&str],
    env: &[(&str, &str)],
) -> Result<(Settings, Source), Error> {
    crate::install_tls();
    let matches = command(Command::new("test"), program)
        .try_get_matches_from(std::iter::once(&"test").chain(flags))
        .expect("the flags exist");
    let set = |name: &str| {
        let found = env.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let file = EnvFile::read(&matches, set)?;
    let vars = env.iter().map(|(n, v)| (n.into(), v.into()));
    let source = Source::read(program, &matches, vars, file)?;
    Ok((Settings::new(program, &source)?, source))
}

fn with_file(
    content: &str,
    flags: &[&str],
    env: &[(&str, &str)],
) -> Result<(Settings, Source), Error> {
    let folder = Folder::new();
    let flag = format!("--env-file={}", folder.write("settings", content));
    let flags = [flags, &[flag.as_str()]].concat();
    start(Program::Api, &flags, env)
}

fn redis_url(settings: &Settings) -> &str {
    match &settings.store {
        Store::Redis(redis) => &redis.url,
        Store::Memory(_) => panic!("conch-api has no memory backend"),
    }
}

/// The file of the existing Python service, as its repository has it.
const PYTHON: &str = "\
# Mare API Configuration
REDIS_HOST=cache.internal
REDIS_PORT=6380
REDIS_DB=2
REDIS_PASSWORD=  # Optional: password for Redis
TRITON_BASE_URL=http://localhost:8000
RESULT_TTL_SECONDS=3600
DATABASE_URL=postgresql://ann:s3cret@db/app
DEBUG=true
";

#[test]
fn the_file_of_the_existing_service_works() {
    let (settings, source) = with_file(PYTHON, &[], &[]).expect("it works");
    assert_eq!(redis_url(&settings), "redis://cache.internal:6380/2");
    assert_eq!(source.warnings, [""; 0], "other programs' names are theirs");
    let debug = format!("{source:?}");
    assert!(debug.contains("REDIS_HOST"), "{debug}");
    assert!(!debug.contains("cache.internal"), "{debug}");
    let note = source.note.expect("that it was read is told");
    assert!(note.contains("/settings: it names 6 settings"), "{note}");
    for value in ["cache.internal", "s3cret", "Optional"] {
        assert!(!note.contains(value), "{note}");
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "REDIS_URL=redis://file\nHISTORY_LIMIT=7\n";
    let url = |flags: &[&str], env: &[(&str, &str)]| {
        let (settings, _) = with_file(file, flags, env).expect("it works");
        redis_url(&settings).to_owned()
    };
    let env = [("REDIS_URL", "redis://env")];
    assert_eq!(url(&[], &[]), "redis://file");
    assert_eq!(url(&[], &[("REDIS_URL", "")]), "redis://file");
    assert_eq!(url(&[], &env), "redis://env");
    assert_eq!(url(&["--redis-url=redis://flag"], &env), "redis://flag");
    let (settings, _) = with_file(file, &[], &env).expect("it works");
    assert_eq!(settings.mare.expect("an API").hub.history_limit, 7);
}

#[test]
fn a_setting_of_the_file_that_cannot_work_is_named() {
    for (file, said) in [
        ("HISTORY_LIMIT=0", "HISTORY_LIMIT must be"),
        ("AUTH=\"jwt", "AUTH can't be read on line 1"),
        ("AUTH: jwt", "AUTH can't be read on line 1"),
        ("'AUTH'=jwt", "AUTH can't be read on line 1"),
        ("A=b\nREDIS_URL='x' y", "REDIS_URL can't be read on line 2"),
    ] {
        let error = with_file(file, &[], &[]).expect_err(file).to_string();
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn what_opens_the_door_or_runs_a_program_is_not_taken_from_the_file() {
    let file =
        "INSECURE=true\nGENERATOR_COMMAND=sh -c s3cret\nWEBHOOK_ALLOW=s3cret\nHISTROY_LIMIT=3";
    let (settings, source) = with_file(file, &[], &[]).expect("it works");
    assert!(settings.worker.is_none());
    let warnings = source.warnings.join("\n");
    for name in ["INSECURE", "GENERATOR_COMMAND", "WEBHOOK_ALLOW"] {
        assert!(
            warnings.contains(&format!("passed over {name} in ")),
            "{warnings}"
        );
    }
    assert!(warnings.contains("HISTORY_LIMIT meant"), "{warnings}");
    assert!(!warnings.contains("s3cret"), "{warnings}");
    let open = "INSECURE=true\nMARE_API_ADDR=0.0.0.0:1";
    let error = with_file(open, &[], &[]).expect_err("it is not insecure");
    assert!(error.to_string().starts_with("MARE_API_ADDR"), "{error}");
    with_file(open, &["--insecure"], &[]).expect("a flag may");
    let quiet = with_file("INSECURE=\n", &[], &[]).expect("it works").1;
    assert_eq!(quiet.warnings, [""; 0]);
}

#[test]
fn a_file_that_cannot_be_trusted_or_read_is_refused() {
    let folder = Folder::new();
    let refused = |path: &str| {
        let flag = format!("--env-file={path}");
        let error = start(Program::Api, &[&flag], &[])
            .expect_err(path)
            .to_string();
        assert!(
            error.starts_with("--env-file names a file that "),
            "{error}"
        );
        assert!(
            !error.contains('\n') && !error.contains("s3cret"),
            "{error}"
        );
        error
    };
    let plain = folder.write("plain", "TRITON_TOKEN=s3cret");
    for (mode, said) in [(0o602, "every user"), (0o666, "every user")] {
        set_mode(Path::new(&plain), mode);
        assert!(refused(&plain).contains(said));
        // The file counts, not the name that leads to it.
        let link = folder.path(&format!("link-{mode:o}"));
        symlink(&plain, &link).expect("a link");
        assert!(refused(link.to_str().expect("text")).contains(said));
    }
    set_mode(Path::new(&plain), 0o644);
    start(Program::Api, &["--env-file", &plain], &[]).expect("all may read it");
    if nix::unistd::Uid::effective().is_root() {
        nix::unistd::chown(Path::new(&plain), Some(4711.into()), None).expect("root may");
        assert!(refused(&plain).contains("another user (uid 4711"));
    }
    assert!(refused(folder.path("none").to_str().expect("text")).contains("does not exist"));
    assert!(refused(folder.0.path().to_str().expect("text")).contains("not a regular file"));
    let pipe = folder.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    assert!(refused(pipe.to_str().expect("text")).contains("not a regular file"));
    let odd = folder.write("odd", b"TRITON_TOKEN=s3cret\xff");
    assert!(refused(&odd).contains("UTF-8"));
    let long = folder.write("long", "# s3cret\n".repeat(50_000));
    assert!(refused(&long).contains("larger than"));
}

#[test]
fn no_file_is_read_where_none_is_wanted() {
    let (_, source) = start(Program::Api, &["--env-file="], &[]).expect("it works");
    assert_eq!(source.note, None);
}

/// What each secret is without the file, and in it.
fn secrets() -> impl Iterator<Item = (&'static Setting, String)> {
    SETTINGS.iter().filter_map(|s| Some((s, s.file_name()?)))
}

#[test]
fn every_secret_may_be_in_a_file() {
    let folder = Folder::new();
    let path = folder.write("secret", "redis://:s3cret@x/0\n");
    for (setting, variable) in secrets() {
        for program in setting.who {
            let value = |flags: &[&str], env: &[(&str, &str)]| {
                let matches = command(Command::new("test"), *program)
                    .get_matches_from(std::iter::once(&"test").chain(flags));
                let env = env.iter().map(|(n, v)| (n.into(), v.into()));
                let source = Source::read(*program, &matches, env, EnvFile::default())?;
                Ok::<_, Error>(source.text(setting.name).map(str::to_owned))
            };
            let held = Ok(Some("redis://:s3cret@x/0".to_owned()));
            assert_eq!(value(&[], &[(&variable, &path)]), held, "{variable}");
            let flag = format!("--{}-file={path}", setting.flag());
            assert_eq!(value(&[&flag], &[]), held, "{flag}");
            // A flag stands in for the variable, whichever of the two it is.
            let given = [(setting.name, "other")];
            assert_eq!(value(&[&flag], &given), held, "{flag}");
            let plain = format!("--{}=plain", setting.flag());
            let said = value(&[&plain], &[(&variable, "/nowhere")]);
            assert_eq!(said, Ok(Some("plain".to_owned())), "{plain}");

            let both = [(setting.name, "s3cret"), (variable.as_str(), &path)];
            let error = value(&[], &both).expect_err("one of the two").to_string();
            let said = format!("{variable} can't be set beside {}", setting.name);
            assert!(error.starts_with(&said), "{error}");
            let empty = [(setting.name, ""), (variable.as_str(), &path)];
            assert_eq!(value(&[], &empty), held, "an empty one is unset");
        }
    }
    assert_eq!(secrets().count(), 9);
}

#[test]
fn a_secret_is_what_the_file_holds_but_for_the_last_line_end() {
    let folder = Folder::new();
    for (content, token) in [
        ("s3cret", "s3cret"),
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        (" s3cret ", " s3cret "),
        ("s3cret\n\n", "s3cret\n"),
    ] {
        let path = folder.write("secret", content);
        let source = source(Program::Worker, &[], &[("REDIS_PASSWORD_FILE", &path)]);
        assert_eq!(source.text("REDIS_PASSWORD"), Some(token), "{content:?}");
    }
    let by_env_file = format!(
        "REDIS_HOST=h\nREDIS_PASSWORD_FILE={}",
        folder.write("s", "p\n")
    );
    let (settings, _) = with_file(&by_env_file, &[], &[]).expect("it works");
    assert_eq!(redis_url(&settings), "redis://:p@h:6379/0");
}

#[test]
fn a_secret_that_cannot_be_had_is_named() {
    let folder = Folder::new();
    let large = folder.write("large", "s3cret".repeat(20_000));
    let odd = folder.write("odd", b"s3cret\xff");
    let empty = folder.write("empty", "");
    let blank = folder.write("blank", "\n");
    let nowhere = folder.path("nowhere");
    let whole = folder.0.path().to_str().expect("text");
    for (path, said) in [
        (nowhere.to_str().expect("text"), "does not exist"),
        (whole, "is not a regular file"),
        (&large, "is larger than 65536 bytes"),
        (&odd, "is not UTF-8 text"),
        (&empty, "is empty"),
        (&blank, "is empty"),
    ] {
        let error = start(
            Program::Api,
            &["--env-file="],
            &[("TRITON_TOKEN_FILE", path)],
        );
        let error = error.expect_err(path).to_string();
        assert_eq!(error, format!("TRITON_TOKEN_FILE names a file that {said}"));
    }
}

#[test]
fn a_misspelled_name_of_a_secrets_file_is_pointed_out() {
    let env = [
        ("TRITON_TOKEN_FLIE", "/run/secrets/token"),
        ("HISTORY_LIMIT_FILE", "/x"),
    ];
    let warnings = source(Program::Api, &[], &env).warnings;
    assert_eq!(
        warnings,
        ["TRITON_TOKEN_FLIE is no setting: was TRITON_TOKEN_FILE meant?"]
    );
}

#[test]
fn what_tls_needs_is_read_and_checked() {
    let folder = Folder::new();
    let tls = ("REDIS_URL", "rediss://cache/0");
    let (nowhere, text) = (folder.path("nowhere"), folder.write("text", "s3cret"));
    let nowhere = nowhere.to_str().expect("text");
    let (key, other) = (
        include_str!("../../../../adapters/http/tests/keys/p256.pem"),
        folder.write("empty", ""),
    );
    let key = folder.write("key", key);
    for (env, said) in [
        (
            &[("REDIS_URL", "rediss://:s3cret@cache/0#insecure")][..],
            "REDIS_URL can't end in #insecure",
        ),
        (
            &[tls, ("CACHE_REDIS_URL", "rediss://:s3cret@cache#insecure")],
            "CACHE_REDIS_URL can't end in #insecure",
        ),
        (
            &[tls, ("REDIS_CA_FILE", nowhere)],
            "REDIS_CA_FILE names a file that does not exist",
        ),
        (
            &[
                ("REDIS_URL", " REDISS://cache/0"),
                ("REDIS_CA_FILE", nowhere),
            ],
            "REDIS_CA_FILE names a file that does not exist",
        ),
        (
            &[
                ("TRITON_BASE_URL", "HTTPS://127.0.0.1"),
                ("SSL_CERT_FILE", &text),
            ],
            "SSL_CERT_FILE must name a file with certificates",
        ),
        (
            &[tls, ("REDIS_CA_FILE", &text)],
            "REDIS_CA_FILE must name a file with certificates",
        ),
        (
            &[tls, ("REDIS_CA_FILE", &key)],
            "REDIS_CA_FILE must name a file with certificates",
        ),
        (
            &[tls, ("REDIS_CA_FILE", &other)],
            "REDIS_CA_FILE must name a file with certificates",
        ),
        (
            &[tls, ("SSL_CERT_FILE", &text)],
            "SSL_CERT_FILE must name a file with certificates",
        ),
        (
            &[
                ("TRITON_BASE_URL", "https://127.0.0.1"),
                ("SSL_CERT_FILE", &text),
            ],
            "SSL_CERT_FILE must name a file with certificates",
        ),
        (
            &[tls, ("REDIS_CERT_FILE", &text)],
            "REDIS_KEY_FILE is required beside",
        ),
        (
            &[tls, ("REDIS_KEY_FILE", &text)],
            "REDIS_CERT_FILE is required beside",
        ),
        (
            &[tls, ("REDIS_CERT_FILE", &text), ("REDIS_KEY_FILE", &text)],
            "REDIS_CERT_FILE must name a file with a certificate",
        ),
    ] {
        let error = start(Program::Api, &["--env-file="], env)
            .expect_err(said)
            .to_string();
        assert!(error.starts_with(said), "{error}");
        assert!(
            !error.contains("s3cret") && !error.contains('\n'),
            "{error}"
        );
    }
    let plain = ("REDIS_URL", "redis://cache/0");
    let elsewhere = [
        plain,
        ("SSL_CERT_FILE", nowhere),
        ("REDIS_CA_FILE", nowhere),
    ];
    let (_, source) = start(Program::Api, &["--env-file="], &elsewhere).expect("it isn't used");
    let warnings = source.warnings.join("\n");
    assert!(
        warnings.contains("REDIS_CA_FILE is set and no address"),
        "{warnings}"
    );
    start(Program::Api, &["--env-file="], &[tls])
        .expect("the system's authorities, or those built in");
}
