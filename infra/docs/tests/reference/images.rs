//! The README's pictures: small, sharp, alike, and all of them shown.

/// A page with pictures should be there at once, also on a phone.
const MOST_BYTES: usize = 150_000;
/// Twice a desk's window and a phone's screen, as `tests/browser/chrome.rs` has them.
const SIZES: [(u32, u32); 2] = [(2400, 1720), (750, 1624)];

#[test]
fn every_picture_is_small_and_shown() {
    let readme = docs::text("README.md");
    let mut seen = 0;
    for entry in std::fs::read_dir(docs::project("infra/images")).unwrap() {
        let entry = entry.unwrap();
        let path = format!("infra/images/{}", entry.file_name().to_string_lossy());
        let picture = std::fs::read(entry.path()).unwrap();
        assert!(picture.len() < MOST_BYTES, "{path} has {} bytes: cargo xtask screenshots", picture.len());
        assert_eq!(picture[..8], *b"\x89PNG\r\n\x1a\n", "{path}");
        let number = |at: usize| u32::from_be_bytes(picture[at..at + 4].try_into().unwrap());
        let size = (number(16), number(20));
        assert!(SIZES.contains(&size), "{path} has {size:?} pixels");
        assert!(readme.contains(&path), "{path} isn't in the README");
        seen += 1;
    }
    assert!(seen > 0, "there are no pictures");
}
