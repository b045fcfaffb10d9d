//! The processes that the local cloud runs the functions in.

use std::fs;

use crate::world::World;

/// The running workers of each function, by the function's spoken name, with their process ids.
pub fn workers(world: &World) -> Vec<(String, u64)> {
    let endpoint = format!("AWS_ENDPOINT_URL={}", world.aws_endpoint_url);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Processes end while we look, and others' can't be read.
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        let variables: Vec<_> = environment.split(|byte| *byte == 0).collect();
        if !variables.contains(&endpoint.as_bytes()) {
            continue;
        }
        let of_function = world
            .functions
            .iter()
            .find(|(_, name)| variables.contains(&format!("AWS_LAMBDA_FUNCTION_NAME={name}").as_bytes()));
        if let Some((spoken, _)) = of_function {
            found.push((spoken.clone(), pid));
        }
    }
    found
}
