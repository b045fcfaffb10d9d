//! The Docker daemon, in whose containers `sam local` runs the functions.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::place::Place;
use crate::process::{find, output_of, run_logged};
use crate::progress::Step;

/// A daemon that answered.
pub(crate) struct Docker;

impl Docker {
    /// Finds the client and asks the daemon.
    pub(crate) fn running() -> Result<Self> {
        if find("docker").is_none() {
            bail!(
                "Docker is missing: install it (apt-get install docker.io) and start it (systemctl start docker, or dockerd)"
            );
        }
        docker(&["version", "--format", "{{.Server.Version}}"])
            .context("the Docker daemon doesn't answer: start it (systemctl start docker, or dockerd)")?;
        Ok(Self)
    }

    /// This machine's address on Docker's own bridge, which containers reach and other machines don't.
    pub(crate) fn bridge(&self) -> Result<Ipv4Addr> {
        let format = "{{with index .IPAM.Config 0}}{{.Gateway}} {{.Subnet}}{{end}}";
        let told = docker(&["network", "inspect", "bridge", "--format", format])?;
        bridge_address(&told).with_context(|| format!("Docker's bridge has no IPv4 address: {told:?}"))
    }

    /// Sees that the image of SAM's Dockerfile is here: kept, pulled or made from what this machine has.
    pub(crate) fn need_image(&self, place: &Place, tag: &str, function: &Path) -> Result<()> {
        if docker(&["image", "inspect", tag]).is_ok() {
            return Ok(());
        }
        let mut step = Step::start("Fetching the image that functions run on");
        let mut pull = Command::new("docker");
        pull.args(["pull", tag]);
        if run_logged(&place.log("docker-pull")?, pull, &mut |line| step.note(line))? {
            step.done();
            return Ok(());
        }
        drop(step);
        let step = Step::start("No registry is reached: making the image from this machine's libraries");
        let mut make = Command::new("python3");
        make.arg(place.project("infra/local/sam/base_image.py")).arg(tag).arg(function);
        output_of(make, "").context("the image that functions run on can't be made")?;
        step.done();
        Ok(())
    }

    /// Removes the containers that see a directory below `mounted`: what a killed `sam local` left behind.
    pub(crate) fn remove_containers(&self, mounted: &Path) -> Result<()> {
        let running = docker(&["ps", "--all", "--quiet"])?;
        let ids: Vec<&str> = running.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let format = "{{.Id}}{{range .Mounts}} {{.Source}}{{end}}";
        // One that ends meanwhile makes the command fail; it still tells of the others.
        let told = Command::new("docker").args(["inspect", "--format", format]).args(&ids).output()?;
        for line in String::from_utf8_lossy(&told.stdout).lines() {
            if let Some((id, sources)) = line.split_once(' ')
                && sources.split(' ').any(|source| Path::new(source).starts_with(mounted))
            {
                // It may be on its way out.
                let _ = docker(&["rm", "--force", id]);
            }
        }
        Ok(())
    }
}

fn docker(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("docker");
    command.args(arguments);
    Ok(output_of(command, "")?.trim().to_owned())
}

/// The gateway where Docker tells it; else the first address of the subnet, which is the one Docker takes.
fn bridge_address(told: &str) -> Option<Ipv4Addr> {
    let mut words = told.split_whitespace();
    let first = words.next()?;
    if let Ok(gateway) = first.parse() {
        return Some(gateway);
    }
    let subnet: Ipv4Addr = first.split_once('/')?.0.parse().ok()?;
    Some(Ipv4Addr::from_bits(subnet.to_bits() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_is_found_with_and_without_a_gateway() {
        let address = Some(Ipv4Addr::new(172, 17, 0, 1));
        assert_eq!(bridge_address("172.17.0.1 172.17.0.0/16"), address);
        assert_eq!(bridge_address("172.17.0.0/16"), address);
        assert_eq!(bridge_address(""), None);
        assert_eq!(bridge_address("fd00::/80"), None);
    }
}
