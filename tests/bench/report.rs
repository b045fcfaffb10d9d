//! The table of results, and the plot of orders over time.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use plotters::prelude::*;
use tests::world::World;

use crate::full::Run;
use crate::seed::Seed;
use crate::{BULK_LANE, WINDOW_SECONDS};

/// Which run the plot shows.
const PLOTTED_ORDERS: u32 = 1_000;

/// Grows by sections, in the order in which they were measured.
pub(crate) struct Report(String);

impl Report {
    pub(crate) async fn new(world: &World) -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d");
        let rustc = Command::new("rustc").arg("--version").output().expect("rustc runs").stdout;
        let rustc = String::from_utf8_lossy(&rustc);
        let postgres = world.database.rows("select split_part(version(), ' ', 2) as version").await;
        Self(format!(
            "# What a sync takes\n\nWritten by `cargo xtask bench` on {date}: ghl-sync {}, {}, Postgres {}, {cores} cores ({}), \
             everything on one machine: \
             the local cloud, Postgres, PostgREST, the fake GHL and this measurement. GHL answers after {} ms in the median with a \
             long tail, the database's door is {} ms away. Times are of a shared machine: read the ratios.\n\n\
             ![Orders over time](orders.svg)\n",
            env!("CARGO_PKG_VERSION"),
            rustc.trim(),
            postgres[0]["version"].as_str().expect("Postgres names its version"),
            model.trim_start_matches([':', ' ', '\t']),
            crate::GHL_LATENCY_MS,
            crate::DATABASE_LATENCY_MS,
        ))
    }

    pub(crate) fn section(&mut self, title: &str, text: &str, columns: &[&str], rows: Vec<Vec<String>>) {
        let mut write = |line: String| writeln!(self.0, "{line}").expect("a text takes anything");
        write(format!("\n## {title}\n\n{text}\n"));
        write(format!("| {} |", columns.join(" | ")));
        write(format!("|{}", "---|".repeat(columns.len())));
        for row in rows {
            write(format!("| {} |", row.join(" | ")));
        }
    }

    pub(crate) fn print(&self) {
        println!("{}", self.0);
    }

    pub(crate) fn write(&self, runs: &[Run], seed: &Seed) {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bench");
        let run = runs.iter().find(|run| run.orders == PLOTTED_ORDERS).expect("it was measured");
        plot(&directory.join("orders.svg"), run, seed).expect("a plot can be drawn");
        fs::write(directory.join("RESULTS.md"), &self.0).expect("the results can be written");
        println!("tests/bench/RESULTS.md was written");
    }
}

/// Orders over time: the run, the bound of an exact window, and the original app's way.
fn plot(path: &Path, run: &Run, seed: &Seed) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, (820, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let (end, orders) = (run.seconds * 1.15, f64::from(run.orders) * 1.08);
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .caption(format!("A full sync of {} orders", run.orders), ("sans-serif", 18))
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end, 0.0..orders)?;
    chart.configure_mesh().light_line_style(WHITE).x_desc("seconds").y_desc("orders synced").draw()?;
    let bound = (0..).map(f64::from).take_while(|window| window * WINDOW_SECONDS <= end).flat_map(|window| {
        let at = window * WINDOW_SECONDS + crate::GHL_LATENCY_MS as f64 / 1000.0;
        let by = |windows: f64| (windows * BULK_LANE as f64).min(f64::from(run.orders));
        [(at, by(window)), (at, by(window + 1.0))]
    });
    let lines: [(&str, RGBColor, Vec<_>); 3] = [
        ("bound of GHL's limit", RGBColor(150, 150, 150), bound.collect()),
        ("ghl-sync", RGBColor(20, 90, 200), run.progress.clone()),
        ("the original's way", RGBColor(200, 70, 40), vec![(0.0, 0.0), (end, end / seed.seconds_per_order)]),
    ];
    for (name, colour, points) in lines {
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}
