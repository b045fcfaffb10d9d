//! Each function from nothing: how large it is, how soon it asks for its first event, how much memory it has by then.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tests::stack::Stack;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::counting::quantile;
use crate::processes::peak_of;
use crate::report::Report;

const STARTS: usize = 15;
/// A function that does nothing, built the same way.
const NOTHING: &str = "idle";
/// Bytes of a `bootstrap` that no function may exceed, stripped and uncompressed: a dependency too many shows here.
const MOST_BYTES: u64 = 14 * 1024 * 1024;
/// The same in a zip, as it is deployed.
const MOST_ZIPPED: u64 = 5 * 1024 * 1024;

fn bootstraps() -> BTreeMap<String, PathBuf> {
    let binaries = PathBuf::from(std::env::var_os("LAMBDA_DIR").expect("LAMBDA_DIR is set"));
    let functions = Stack::running().functions.into_keys().chain([NOTHING.to_owned()]);
    functions.map(|name| (name.clone(), binaries.join(&name).join("bootstrap"))).collect()
}

pub(crate) fn assert_sizes() {
    for (name, path) in bootstraps() {
        let bytes = std::fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len();
        assert!(bytes <= MOST_BYTES, "{name} has grown to {bytes} bytes");
        let zipped = zipped(&path);
        assert!(zipped <= MOST_ZIPPED, "{name} has grown to {zipped} bytes in a zip");
    }
}

/// Milliseconds until it asks for its first event, and its peak memory in MB by then.
async fn start(path: &PathBuf, environment: &BTreeMap<String, String>) -> (f64, f64) {
    let runtime_api = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = runtime_api.local_addr().unwrap().to_string();
    let begun = Instant::now();
    let mut function = Command::new(path)
        .env_clear()
        .envs(environment)
        .env("AWS_LAMBDA_RUNTIME_API", &address)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("a function starts");
    let asked = async {
        let (mut connection, _) = runtime_api.accept().await.unwrap();
        let mut head = [0; 64];
        let read = connection.read(&mut head).await.unwrap();
        assert!(head[..read].starts_with(b"GET /2018-06-01/runtime/invocation/next"), "it fails to start");
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it asks for its first event");
    let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    let peak = peak_of(function.id().unwrap().into()).unwrap_or(0.0);
    function.kill().await.ok();
    (milliseconds, peak)
}

/// What the local cloud gives a function, as far as starting needs it.
fn environment(name: &str) -> BTreeMap<String, String> {
    let stack = Stack::running();
    let queue = format!("{}/000000000000/q", stack.aws_endpoint_url);
    let mut variables: BTreeMap<_, _> = [
        ("AWS_LAMBDA_FUNCTION_NAME", name),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "g"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "s"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_ENDPOINT_URL", &stack.aws_endpoint_url),
        ("GHL_LOCATION_ID", &stack.location_id),
        ("GHL_API_BASE_URL", &stack.ghl_url),
        ("SUPABASE_URL", stack.supabase_url()),
        ("STATUS_BUCKET", &stack.bucket),
        ("WEBSOCKET_ENDPOINT", &stack.aws_endpoint_url),
        ("WEBSOCKET_URL", &stack.websocket_url),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for secret in [
        "GHL_ACCESS_TOKEN",
        "SUPABASE_SERVICE_ROLE_KEY",
        "WEBHOOK_SHARED_SECRET",
        "WS_TICKET_SECRET",
        "SUPABASE_JWT_SECRET",
    ] {
        variables.insert(format!("{secret}_PARAMETER"), "/ghl-sync/a-secret".to_owned());
    }
    for name in ["ORDERS", "ORDERS_BULK", "TICKETS", "RUNS"] {
        variables.insert(format!("{name}_QUEUE_URL"), queue.clone());
    }
    variables
}

pub(crate) async fn measure(report: &mut Report) {
    let mut measured = BTreeMap::new();
    for (name, path) in bootstraps() {
        let (environment, mut times, mut peak) = (environment(&name), Vec::new(), 0.0_f64);
        for _ in 0..STARTS {
            let (time, memory) = start(&path, &environment).await;
            times.push(time);
            peak = peak.max(memory);
        }
        measured.insert(name, (std::fs::metadata(&path).unwrap().len(), zipped(&path), quantile(&times, 0.5), peak));
    }
    let nothing = measured[NOTHING].2;
    let rows = measured.iter().map(|(name, (bytes, zipped, time, peak))| {
        let mb = |bytes: &u64| format!("{:.1}", *bytes as f64 / 1024.0 / 1024.0);
        println!("start of {name}: {time:.1} ms, {peak:.0} MB");
        vec![
            name.clone(),
            mb(bytes),
            mb(zipped),
            format!("{time:.1}"),
            format!("{:.2}", time / nothing),
            format!("{peak:.0}"),
        ]
    });
    report.section(
        "Start-up",
        "From the start of the process to the first call for an event, the median of 15; `idle` is a function that does nothing, built the same \
         way. Goals: webhook, gate and authorizer at most 2.5 times its time, each function at most 40 MB of memory and 5 MB zipped. Most of what \
         is left is reading the system's root certificates, once per process and from one file.",
        &["function", "bootstrap (MB)", "zipped (MB)", "to the first call (ms)", "times idle's", "peak memory (MB)"],
        rows.collect(),
    );
}

/// How large it is in a zip, as it is deployed.
fn zipped(path: &PathBuf) -> u64 {
    let script =
        "import sys,zlib; z=zlib.compressobj(9); b=open(sys.argv[1],'rb').read(); print(len(z.compress(b)+z.flush()))";
    let said = std::process::Command::new("python3").args(["-c", script]).arg(path).output().expect("python3 is there");
    String::from_utf8_lossy(&said.stdout).trim().parse().expect("a number")
}
