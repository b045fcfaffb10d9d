//! The authorities that may have signed a database's certificate: the system's, and for Supabase's servers also Supabase's own.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::place::Place;

/// Debian, Ubuntu; Fedora, Amazon Linux; openSUSE; macOS, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// As Supabase publishes it (Database Settings, SSL Configuration). It ends on 26 April 2031.
const SUPABASE: &str = "infra/supabase/certificates/supabase-root-2021.pem";

/// A file with the authorities for this host, for libpq: older versions don't know the system's by themselves.
pub(crate) fn of_host(place: &Place, host: &str) -> Result<PathBuf> {
    let given = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let system = given.into_iter().chain(BUNDLES.map(PathBuf::from)).find(|bundle| bundle.is_file());
    if ![".supabase.co", ".supabase.com"].iter().any(|domain| host.ends_with(domain)) {
        return system.context(
            "this machine has no file of root certificates: let SSL_CERT_FILE name one, or the URL's sslrootcert",
        );
    }
    let mut roots = fs::read_to_string(place.project(SUPABASE)).with_context(|| format!("can't read {SUPABASE}"))?;
    if let Some(bundle) = system {
        roots += &fs::read_to_string(&bundle).with_context(|| format!("can't read {}", bundle.display()))?;
    }
    let path = place.own("roots.pem");
    fs::write(&path, roots).with_context(|| format!("can't write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn supabases_own_authority_is_the_one_that_it_publishes_and_for_its_servers_only() {
        let place = Place::test().unwrap();
        let text = fs::read_to_string(place.project(SUPABASE)).unwrap();
        let encoded: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(encoded).unwrap();
        // In public use since 2021, with this SHA-256 fingerprint.
        let published = "807025ad50d4ed219d2c9c7d299c004f824eb00cf7f65afef607d07b72e6cafa";
        assert_eq!(hex::encode(Sha256::digest(der)), published);

        for (host, trusted) in [
            ("db.abc.supabase.co", true),
            ("aws-0-eu-central-1.pooler.supabase.com", true),
            ("db.example.com", false),
            ("supabase.co.example.com", false),
        ] {
            let roots = fs::read_to_string(of_host(&place, host).unwrap()).unwrap();
            assert_eq!(roots.contains(text.trim()), trusted, "{host}");
            assert!(roots.matches("BEGIN CERTIFICATE").count() > 50, "{host}: the system's are there too");
        }
    }
}
