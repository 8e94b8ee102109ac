//! Reading the operator's own configuration files, as Postgres itself would: which value of a parameter wins, and in which
//! line it stands. Nothing is written here, and the agent's own files, where they are included, are passed over.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::config::FILES;
use super::error::PostgresError;

/// Postgres's own limit on files that include files.
const MOST_NESTED: usize = 10;

/// A parameter's value, and where it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its value, as written, without the quotes.
    pub value: String,
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

/// What the files set, by the parameter's name in small letters.
pub type Found = BTreeMap<String, Setting>;

/// Reads a configuration file with all that it includes; the last line that sets a parameter wins.
pub(super) fn read(path: &Path) -> Result<Found, PostgresError> {
    let mut found = Found::new();
    read_into(&mut found, path, 0)?;
    Ok(found)
}

/// The same for a file that may be missing, as `postgresql.auto.conf` may.
pub(super) fn read_if_there(path: &Path) -> Result<Found, PostgresError> {
    if path.exists() { read(path) } else { Ok(Found::new()) }
}

fn read_into(found: &mut Found, path: &Path, depth: usize) -> Result<(), PostgresError> {
    let wrong = |line, what: &str| PostgresError::BadConfiguration {
        file: path.to_owned(),
        line,
        what: what.to_owned(),
    };
    if depth > MOST_NESTED {
        return Err(wrong(0, "files include each other more than 10 deep"));
    }
    let text = fs::read_to_string(path).map_err(PostgresError::file("read", path))?;
    for (index, text) in text.lines().enumerate() {
        let line = index + 1;
        let Some((name, value)) = parse(text).map_err(|what| wrong(line, what))? else { continue };
        let target = || path.parent().unwrap_or(Path::new("/")).join(&value);
        match name.as_str() {
            "include" | "include_if_exists" | "include_dir" if is_own(&value) => {}
            "include" => read_into(found, &target(), depth + 1)?,
            "include_if_exists" if target().exists() => read_into(found, &target(), depth + 1)?,
            "include_if_exists" => {}
            "include_dir" => {
                for file in files_of(&target())? {
                    read_into(found, &file, depth + 1)?;
                }
            }
            _ => {
                found.insert(name, Setting { value, file: path.to_owned(), line });
            }
        }
    }
    Ok(())
}

/// Whether an included file is one that the agent writes.
pub(super) fn is_own(included: &str) -> bool {
    Path::new(included).file_name().is_some_and(|name| FILES.iter().any(|own| name == *own))
}

/// What `include_dir` takes, in Postgres's order.
fn files_of(dir: &Path) -> Result<Vec<PathBuf>, PostgresError> {
    let entries = fs::read_dir(dir).map_err(PostgresError::file("list", dir))?;
    let is_conf = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".conf") && !name.starts_with('.') && !path.is_dir()
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_conf).collect();
    files.sort();
    Ok(files)
}

/// One line: a name and a value, or nothing.
pub(super) fn parse(line: &str) -> Result<Option<(String, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$') || !c.is_ascii();
    let end = line.find(|c| !plain(c)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() {
        return Err("expected the name of a parameter");
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let (value, rest) = match rest.strip_prefix('\'') {
        Some(quoted) => unquote(quoted).ok_or("a quote is not closed")?,
        None => {
            let end = rest.find(|c: char| c.is_whitespace() || c == '#').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        }
    };
    let rest = rest.trim_start();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err("something follows the value");
    }
    Ok(Some((name.to_ascii_lowercase(), value)))
}

/// What stands before the closing quote, and what comes after it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' if characters.peek().is_some_and(|(_, next)| *next == '\'') => {
                characters.next();
                value.push('\'');
            }
            '\'' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_postgres_does() {
        for (line, expected) in [
            ("", None),
            ("  # port = 1", None),
            ("Port = 5433", Some(("port", "5433"))),
            ("port 5433 # ours", Some(("port", "5433"))),
            ("a.b='x''y\\'z' # so", Some(("a.b", "x'y'z"))),
            ("include_dir 'conf.d'", Some(("include_dir", "conf.d"))),
            ("empty = ''", Some(("empty", ""))),
        ] {
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(parse(line), Ok(expected), "{line}");
        }
        for line in ["= 1", "a = 'b", "a = 1 2"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_last_line_wins_and_the_agents_own_files_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        write("conf.d/1.conf", "work_mem = 1MB\n");
        write("conf.d/2.conf", "work_mem = 2MB\n");
        write("conf.d/.hidden.conf", "work_mem = 3MB\n");
        write("regent.conf", "port = 1\n");
        let text =
            "port = 5433\ninclude_dir 'conf.d'\ninclude_if_exists 'none.conf'\ninclude 'regent.conf'\n";
        write("postgresql.conf", text);
        let found = read(&dir.path().join("postgresql.conf")).unwrap();
        assert_eq!((found["port"].value.as_str(), found["port"].line), ("5433", 1));
        assert_eq!(found["work_mem"].value, "2MB");
        assert_eq!(found["work_mem"].file, dir.path().join("conf.d/2.conf"));

        write("postgresql.conf", "port = 5433\ninclude 'none.conf'\n");
        assert!(read(&dir.path().join("postgresql.conf")).unwrap_err().to_string().contains("none.conf"));
        write("postgresql.conf", "\nport = '5433\n");
        let error = read(&dir.path().join("postgresql.conf")).unwrap_err().to_string();
        assert!(error.contains("postgresql.conf, line 2"), "{error}");
    }
}
