//! What TLS is made of: once per process, for every client.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::{ClientConfig, RootCertStore, crypto};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};

/// Where Linux distributions keep all their root certificates in one file, the most likely first; the list of Go's `crypto/x509`.
const BUNDLES: [&str; 6] = [
    // Debian, Ubuntu, Alpine
    "/etc/ssl/certs/ca-certificates.crt",
    // Amazon Linux, and so Lambda; Fedora
    "/etc/pki/tls/certs/ca-bundle.crt",
    // openSUSE
    "/etc/ssl/ca-bundle.pem",
    // OpenELEC
    "/etc/pki/tls/cacert.pem",
    // RHEL 7 and its kin
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // Alpine, and others that link to their bundle
    "/etc/ssl/cert.pem",
];

/// Certificates are checked against the system's roots, as they were when the process first asked. HTTP/1.1 only: a function
/// makes one or two calls at a time, and after Lambda's freeze a dead HTTP/2 connection would hang all of them.
///
/// # Errors
/// In words, when the system has no usable root certificate: then no server can be trusted.
pub(crate) fn config() -> Result<ClientConfig, &'static str> {
    static CONFIG: LazyLock<Result<ClientConfig, &'static str>> = LazyLock::new(|| trusting(system_roots()));
    CONFIG.clone()
}

fn trusting(found: CertificateResult) -> Result<ClientConfig, &'static str> {
    let mut roots = RootCertStore::empty();
    // A root that can't be read is left out: it vouches for nobody, and the others still do for theirs.
    let (_usable, _unusable) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("the system has no root certificates: install ca-certificates, or set SSL_CERT_FILE");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| "the cryptography lacks what TLS 1.2 and 1.3 need")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The roots of the system's one bundle; what `SSL_CERT_FILE` and `SSL_CERT_DIR` name, if somebody has set them; where there is
/// no bundle, what the system has otherwise.
///
/// Debian keeps its roots a second time in a directory of 280 files. To read these as well, as `rustls-native-certs` does by
/// itself, takes three times as long, and finds the same roots.
fn system_roots() -> CertificateResult {
    let is_told = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().any(|name| std::env::var_os(name).is_some());
    if cfg!(target_os = "linux") && !is_told {
        let bundle = BUNDLES.map(Path::new).into_iter().find(|path| path.is_file());
        let found = load_certs_from_paths(bundle, None);
        if !found.certs.is_empty() {
            return found;
        }
    }
    load_native_certs()
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::net::SocketAddr;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::ServerConfig;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// The machine's bundle and its directory are two ways to the same roots.
    #[test]
    fn the_bundle_holds_every_root_of_the_system() {
        // Both sorted and without repetitions.
        let (bundle, everything) = (system_roots().certs, load_native_certs().certs);
        assert!(!bundle.is_empty() && bundle == everything, "{} of {}", bundle.len(), everything.len());
    }

    /// A server on this machine with a certificate for `name`, which answers one request. Nobody has signed the certificate.
    async fn server(name: &str) -> (SocketAddr, CertificateDer<'static>) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
        let (certificate, key) = (cert.der().clone(), PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap());
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (connection, _) = listener.accept().await.unwrap();
            // Fails when the client doesn't trust it.
            let Ok(mut connection) = TlsAcceptor::from(Arc::new(config)).accept(connection).await else { return };
            let _request = connection.read(&mut [0; 1024]).await;
            let _sent = connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        });
        (address, certificate)
    }

    /// What a client of this configuration gets from the server, as `localhost`: the status, or why not.
    async fn ask(config: ClientConfig, address: SocketAddr) -> Result<u16, String> {
        let client = reqwest::Client::builder().tls_backend_preconfigured(config).build().unwrap();
        let answer = client.get(format!("https://localhost:{}/", address.port())).send().await;
        answer.map(|answer| answer.status().as_u16()).map_err(|error| {
            let causes = std::iter::successors(error.source(), |error| (*error).source());
            causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
        })
    }

    fn only(root: CertificateDer<'static>) -> ClientConfig {
        let mut found = CertificateResult::default();
        found.certs = vec![root];
        trusting(found).unwrap()
    }

    #[tokio::test]
    async fn who_is_trusted_is_asked() {
        let (address, certificate) = server("localhost").await;
        assert_eq!(ask(only(certificate), address).await, Ok(204));
    }

    #[tokio::test]
    async fn whom_the_system_does_not_know_is_refused() {
        let (address, _) = server("localhost").await;
        let error = ask(config().unwrap(), address).await.unwrap_err();
        assert!(error.contains("UnknownIssuer"), "{error}");
    }

    #[tokio::test]
    async fn a_certificate_of_another_name_is_refused() {
        let (address, certificate) = server("other.invalid").await;
        let error = ask(only(certificate), address).await.unwrap_err();
        assert!(error.contains("not valid for name"), "{error}");
    }

    #[test]
    fn without_roots_nobody_is_trusted() {
        assert!(trusting(CertificateResult::default()).unwrap_err().contains("root certificates"));
    }
}
