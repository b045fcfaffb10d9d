//! In which form a file is sent: the smallest that the browser takes.

use lambda_http::http::{HeaderMap, header::ACCEPT_ENCODING};

/// The forms that files have, the smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Brotli,
    Gzip,
    Plain,
}

impl Encoding {
    /// As `Accept-Encoding` and `Content-Encoding` name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Plain => "identity",
        }
    }

    /// What a request accepts best (RFC 9110, 12.5.3). Whoever accepts nothing that there is gets the plain form, as the RFC allows.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let accepted = Accepted::read(headers);
        let [brotli, gzip] = [Self::Brotli, Self::Gzip].map(|form| accepted.weight(form.name()).unwrap_or(0));
        // Who doesn't mention the plain form takes it, and would rather have what it mentions.
        let plain = accepted.weight(Self::Plain.name()).unwrap_or(0);
        if brotli > 0 && brotli >= gzip.max(plain) {
            Self::Brotli
        } else if gzip > 0 && gzip >= plain {
            Self::Gzip
        } else {
            Self::Plain
        }
    }
}

/// The codings that a request names, with their weights in thousandths.
struct Accepted(Vec<(String, u32)>);

impl Accepted {
    fn read(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let codings = values.flat_map(|value| value.split(',')).filter_map(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            Some((name, weight.map_or(Some(1000), thousandths)?))
        });
        Self(codings.collect())
    }

    /// How much it wants a coding; `None` if it says nothing of it.
    fn weight(&self, coding: &str) -> Option<u32> {
        let of = |wanted: &str| self.0.iter().find(|(name, _)| name == wanted).map(|(_, weight)| *weight);
        of(coding).or_else(|| of("*"))
    }
}

/// A weight between 0 and 1 in thousandths; `None` if it is none.
fn thousandths(weight: &str) -> Option<u32> {
    let weight: f32 = weight.trim().parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    (0.0..=1.0).contains(&weight).then(|| (weight * 1000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use lambda_http::http::HeaderValue;

    use super::*;

    fn wanted(values: &[&'static str]) -> Encoding {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        Encoding::wanted(&headers)
    }

    #[test]
    fn the_smallest_form_that_is_accepted_best() {
        use Encoding::{Brotli, Gzip, Plain};
        let table: &[(&[&'static str], Encoding)] = &[
            (&[], Plain),
            (&[""], Plain),
            (&["gzip, deflate, br, zstd"], Brotli),
            (&["gzip, deflate"], Gzip),
            (&["GZIP"], Gzip),
            (&["deflate", "br"], Brotli),
            (&["br;q=0.5, gzip"], Gzip),
            (&["br; q=0.5 , gzip ;q=0.5"], Brotli),
            (&["br;q=0, gzip;q=0"], Plain),
            (&["identity, gzip;q=0.5"], Plain),
            (&["identity;q=0.5, gzip;q=0.5"], Gzip),
            (&["identity;q=0"], Plain),
            (&["*"], Brotli),
            (&["*;q=0"], Plain),
            (&["br;q=0, *"], Gzip),
            (&["gzip, *;q=0"], Gzip),
            (&["zstd"], Plain),
            (&["br;q=2, gzip;q=x"], Plain),
            (&["br;q=NaN"], Plain),
            (&["brotli, xgzip"], Plain),
        ];
        for &(values, expected) in table {
            assert_eq!(wanted(values), expected, "{values:?}");
        }
    }
}
