//! Orders over time, drawn.

use std::path::Path;

use plotters::prelude::*;

use crate::full::Run;
use crate::seed::Seed;
use crate::{CALLS_PER_WINDOW, WINDOW_SECONDS};

/// Orders over time: the run, the bound of an exact window, and the original app's way.
pub(crate) fn plot(path: &Path, run: &Run, seed: &Seed) -> Result<(), Box<dyn std::error::Error>> {
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
        let by = |windows: f64| (windows * CALLS_PER_WINDOW as f64).min(f64::from(run.orders));
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
