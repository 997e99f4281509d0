//! What was measured, as a table and as JSON.

use std::fmt::Write as _;

use serde_json::json;

use crate::client::Outcome;
use crate::table::{Figure, median, verdict};

/// The names of the two servers.
pub(crate) const OURS: &str = "failbackd";
/// See [`OURS`].
pub(crate) const BARE: &str = "bare";

/// What the project wants to reach at 64 connections: operation, name of the number, bound.
const TARGETS: &[(&str, Number, f64)] = &[
    ("Identify", Number::CpuRatio, 1.3),
    ("Get of a job", Number::CpuRatio, 1.8),
    ("Get of a job", Number::RateRatio, 0.65),
    ("Get of a job", Number::P99Ms, 10.0),
    ("WQL poll of a job", Number::CpuRatio, 2.2),
];

#[derive(Clone, Copy)]
enum Number {
    /// At most the bound.
    CpuRatio,
    /// At least the bound.
    RateRatio,
    /// At most the bound.
    P99Ms,
}

/// One line of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) operation: &'static str,
    pub(crate) connections: usize,
}

/// One measurement of one server.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sample {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_us: f64,
}

impl From<Outcome> for Sample {
    fn from(outcome: Outcome) -> Sample {
        let count = outcome.latencies.len();
        let real_count = f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX));
        let at = |percent: usize| {
            let index = (count * percent / 100).min(count.saturating_sub(1));
            outcome.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        Sample {
            rate: f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / outcome.elapsed.as_secs_f64(),
            p50_ms: at(50),
            p99_ms: at(99),
            cpu_us: outcome.cpu.as_secs_f64() * 1e6 / real_count,
        }
    }
}

/// Everything of one bench.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) figures: Vec<Figure>,
    pub(crate) errors: Vec<String>,
    cells: Vec<(Cell, Vec<(Sample, Sample)>)>,
}

/// The medians of one cell over all runs.
struct Summary {
    cell: Cell,
    ours: Sample,
    bare: Sample,
    rate_ratio: f64,
    cpu_ratio: f64,
}

impl Report {
    pub(crate) fn add(&mut self, cell: Cell, ours: Sample, bare: Sample) {
        match self.cells.iter_mut().find(|(known, _)| *known == cell) {
            Some((_, pairs)) => pairs.push((ours, bare)),
            None => self.cells.push((cell, vec![(ours, bare)])),
        }
    }

    /// Ratios are medians of the ratios within a run, since the two servers shared that run's weather.
    fn summaries(&self) -> Vec<Summary> {
        let summary = |(cell, pairs): &(Cell, Vec<(Sample, Sample)>)| {
            let of = |number: &dyn Fn(&(Sample, Sample)) -> f64| median(pairs.iter().map(number).collect());
            let sample = |side: &dyn Fn(&(Sample, Sample)) -> Sample| Sample {
                rate: of(&|pair| side(pair).rate),
                p50_ms: of(&|pair| side(pair).p50_ms),
                p99_ms: of(&|pair| side(pair).p99_ms),
                cpu_us: of(&|pair| side(pair).cpu_us),
            };
            Summary {
                cell: *cell,
                ours: sample(&|pair| pair.0),
                bare: sample(&|pair| pair.1),
                rate_ratio: of(&|(ours, bare)| ours.rate / bare.rate),
                cpu_ratio: of(&|(ours, bare)| ours.cpu_us / bare.cpu_us),
            }
        };
        self.cells.iter().map(summary).collect()
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        let summaries = self.summaries();
        let runs = self.cells.first().map_or(0, |(_, pairs)| pairs.len());
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "Median of {runs} runs; {OURS} / {BARE}.\n\n| operation | connections | requests/s | ratio | p50 ms \
             | p99 ms | server CPU µs/request | ratio |\n|---|--:|--:|--:|--:|--:|--:|--:|"
        );
        for Summary { cell, ours, bare, rate_ratio, cpu_ratio } in &summaries {
            let _ = writeln!(
                out,
                "| {} | {} | {:.0} / {:.0} | {rate_ratio:.2} | {} | {} | {} | {cpu_ratio:.2} |",
                cell.operation,
                cell.connections,
                ours.rate,
                bare.rate,
                format_args!("{:.2} / {:.2}", ours.p50_ms, bare.p50_ms),
                format_args!("{:.2} / {:.2}", ours.p99_ms, bare.p99_ms),
                format_args!("{:.1} / {:.1}", ours.cpu_us, bare.cpu_us),
            );
        }
        let _ = writeln!(out, "\n| at 64 connections | measured | target | |\n|---|--:|---|---|");
        for target in targets(&summaries) {
            let _ = writeln!(out, "{target}");
        }
        let _ = writeln!(out, "\n| besides | measured | target | |\n|---|--:|---|---|");
        for figure in &self.figures {
            let _ = writeln!(out, "{}", figure.row());
        }
        let _ = write!(out, "\nErrors: {}.", self.errors.len());
        out
    }

    pub(crate) fn json(&self) -> String {
        let sample = |sample: &Sample| {
            json!({
                "requests_per_second": sample.rate, "p50_ms": sample.p50_ms, "p99_ms": sample.p99_ms,
                "cpu_us_per_request": sample.cpu_us,
            })
        };
        let cells: Vec<_> = self
            .summaries()
            .iter()
            .map(|summary| {
                json!({
                    "operation": summary.cell.operation, "connections": summary.cell.connections,
                    OURS: sample(&summary.ours), BARE: sample(&summary.bare),
                    "rate_ratio": summary.rate_ratio, "cpu_ratio": summary.cpu_ratio,
                })
            })
            .collect();
        let figures: Vec<_> =
            self.figures.iter().map(|figure| json!({ "name": figure.name, "value": figure.value })).collect();
        json!({ "cells": cells, "figures": figures, "errors": self.errors }).to_string()
    }
}

fn targets(summaries: &[Summary]) -> Vec<String> {
    let mut lines = Vec::new();
    for (operation, number, bound) in TARGETS {
        let measured = summaries.iter().find(|s| s.cell.operation == *operation && s.cell.connections == 64);
        let Some(summary) = measured else { continue };
        let (name, value, side, met) = match number {
            Number::CpuRatio => ("server CPU over bare", summary.cpu_ratio, "at most", summary.cpu_ratio <= *bound),
            Number::RateRatio => ("requests/s over bare", summary.rate_ratio, "at least", summary.rate_ratio >= *bound),
            Number::P99Ms => ("p99 in ms", summary.ours.p99_ms, "at most", summary.ours.p99_ms <= *bound),
        };
        let verdict = verdict(met);
        lines.push(format!("| {operation}, {name} | {value:.2} | {side} {bound} | {verdict} |"));
    }
    lines
}
