//! Compresses the page's files, and names their folder by what they hold. `src/assets.rs` compiles them in.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};

const PAGE: &str = "index.html";
/// What the page and its files call their folder.
const FOLDER: &str = "assets/";
/// Made from the environment, so it isn't one of these files, and keeps its address.
const CONFIG: &str = "config.json";

/// Of 11: the best that is quick enough for a build without optimisation.
const BROTLI_QUALITY: u32 = 11;
/// The largest window that every browser takes, as a power of two.
const BROTLI_WINDOW: u32 = 22;

fn main() -> Result<(), Box<dyn Error>> {
    let assets = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("assets");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed={}", assets.display());
    let mut files = read(&assets)?;
    // By the page's own content too: it belongs to these files.
    let version = hash(&files);
    let page = files.iter().position(|(name, _)| name == PAGE).ok_or("assets has no index.html")?;
    let (_, page) = files.remove(page);
    let page = page.replace(FOLDER, &format!("{FOLDER}{version}/"));
    let page = page.replace(&format!("{FOLDER}{version}/{CONFIG}"), &format!("{FOLDER}{CONFIG}"));

    let mut code = format!("pub(crate) const VERSION: &str = \"{version}\";\n");
    writeln!(code, "pub(crate) const PAGE: Content = {};", content(&out, PAGE, &page)?)?;
    writeln!(code, "pub(crate) const ASSETS: &[Asset] = &[")?;
    for (name, text) in &files {
        let (kind, content) = (content_type(name)?, content(&out, name, text)?);
        writeln!(code, "    Asset {{ name: {name:?}, content_type: {kind:?}, content: {content} }},")?;
    }
    writeln!(code, "];")?;
    fs::write(out.join("assets.rs"), code)?;
    Ok(())
}

/// The folder's files by their names: the order decides the version.
fn read(assets: &Path) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(assets)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).ok_or("a file's name is no text")?.to_owned();
        files.push((name, fs::read_to_string(&path)?));
    }
    files.sort();
    Ok(files)
}

/// Only ever compared with itself: a hasher with fixed keys does.
fn hash(files: &[(String, String)]) -> String {
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn content_type(name: &str) -> Result<&'static str, String> {
    match name.rsplit_once('.') {
        Some((_, "js")) => Ok("text/javascript; charset=utf-8"),
        Some((_, "css")) => Ok("text/css; charset=utf-8"),
        Some((_, "svg")) => Ok("image/svg+xml"),
        _ => Err(format!("assets/{name} is of a type that build.rs doesn't know")),
    }
}

/// The expression for a file in each of its forms, which are written beside each other.
fn content(out: &Path, name: &str, text: &str) -> Result<String, Box<dyn Error>> {
    let form = |suffix: &str| out.join(format!("{name}{suffix}"));
    fs::write(form(""), text)?;
    fs::write(form(".br"), brotli(text.as_bytes())?)?;
    fs::write(form(".gz"), gzip(text.as_bytes())?)?;
    Ok(format!(
        "Content {{ plain: include_str!({:?}), brotli: include_bytes!({:?}), gzip: include_bytes!({:?}), tag: {:?} }}",
        form(""),
        form(".br"),
        form(".gz"),
        hash(&[(name.to_owned(), text.to_owned())]),
    ))
}

fn brotli(content: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut writer = brotli::CompressorWriter::new(Vec::new(), 4096, BROTLI_QUALITY, BROTLI_WINDOW);
    writer.write_all(content)?;
    writer.flush()?;
    Ok(writer.into_inner())
}

/// Without a time and a name: the same content makes the same bytes.
fn gzip(content: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut writer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    writer.write_all(content)?;
    Ok(writer.finish()?)
}
