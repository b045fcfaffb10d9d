//! Who answers in place of the database, and asks for the password itself, doesn't get it from `cargo xtask migrate`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, crypto};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::migrating::migrate;

const PASSWORD: &str = "correct-horse";
/// Postgres' `SSLRequest` but for its length.
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
/// Postgres' `AuthenticationCleartextPassword`.
const GIVE_ME_THE_PASSWORD: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 3];

/// A server on every address of this machine, with all that it was sent after it had asked for the password.
struct Imposter {
    port: u16,
    told: Arc<Mutex<Vec<u8>>>,
}

impl Imposter {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                // A client that gives up is what is wanted.
                let _ = serve(connection, tls.as_ref(), &heard).await;
            }
        });
        Self { port, told }
    }

    fn was_told_the_password(&self) -> bool {
        let told = self.told.lock().unwrap();
        told.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes())
    }
}

async fn serve(mut connection: TcpStream, tls: Option<&TlsAcceptor>, told: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut first = [0; 8];
    connection.read_exact(&mut first).await?;
    if !first.ends_with(&SSL_REQUEST) {
        // The beginning of a start-up message.
        let rest = u32::from_be_bytes([first[0], first[1], first[2], first[3]]) - 8;
        return ask(connection, rest, told).await;
    }
    match tls {
        Some(tls) => {
            connection.write_all(b"S").await?;
            let mut connection = tls.accept(connection).await?;
            let length = connection.read_u32().await?;
            ask(connection, length - 4, told).await
        }
        None => {
            connection.write_all(b"N").await?;
            let length = connection.read_u32().await?;
            ask(connection, length - 4, told).await
        }
    }
}

/// After so many bytes more of the start-up message.
async fn ask(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    rest: u32,
    told: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    connection.read_exact(&mut vec![0; rest as usize]).await?;
    connection.write_all(&GIVE_ME_THE_PASSWORD).await?;
    let mut answer = [0; 1024];
    let length = connection.read(&mut answer).await?;
    told.lock().unwrap().extend_from_slice(&answer[..length]);
    Ok(())
}

/// A certificate for `localhost` that nobody has signed, and the file of it.
fn certificate() -> (TlsAcceptor, PathBuf) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (cert.der().clone(), PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap());
    let path = std::env::temp_dir().join(format!("ghl-sync-root-{:016x}.pem", rand::random::<u64>()));
    let text = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(&certificate));
    std::fs::write(&path, text).unwrap();
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    (TlsAcceptor::from(Arc::new(config)), path)
}

#[tokio::test]
async fn nobody_gets_the_password_who_is_not_known_to_be_the_server() {
    let (tls, root) = certificate();
    let (encrypted, plain) = (Imposter::start(Some(tls)).await, Imposter::start(None).await);
    let by_its_certificate = format!("?sslmode=verify-full&sslrootcert={}", root.display());
    // `0.0.0.0` is this machine too, and nothing that a URL tells apart from another one.
    for (imposter, host, parameters) in [
        (&encrypted, "0.0.0.0", ""),
        (&encrypted, "0.0.0.0", "?sslmode=require"),
        (&encrypted, "0.0.0.0", "?sslmode=verify-ca"),
        (&encrypted, "localhost", "?sslmode=verify-full"),
        // Of another host.
        (&encrypted, "127.0.0.1", by_its_certificate.as_str()),
        (&plain, "0.0.0.0", ""),
        (&plain, "0.0.0.0", "?sslmode=prefer"),
        (&plain, "0.0.0.0", "?sslmode=disable"),
    ] {
        let url = format!("postgres://postgres:{PASSWORD}@{host}:{}/postgres{parameters}", imposter.port);
        let said = migrate(&url, &["--yes"]).await;
        said.says(false, &[]);
        assert!(!said.text.contains(PASSWORD), "{}", said.text);
        assert!(!imposter.was_told_the_password(), "{host}{parameters}: {}", said.text);
    }
    let said =
        migrate(&format!("postgres://postgres:{PASSWORD}@0.0.0.0:{}/postgres", encrypted.port), &["--yes"]).await;
    said.says(false, &["got no password", "certificate", "sslrootcert"]);

    // Whom its certificate proves to be the server gets it: so an imposter would have had it above.
    let url = format!("postgres://postgres:{PASSWORD}@localhost:{}/postgres{by_its_certificate}", encrypted.port);
    migrate(&url, &["--yes"]).await.says(false, &[]);
    assert!(encrypted.was_told_the_password());
    std::fs::remove_file(root).ok();
}
