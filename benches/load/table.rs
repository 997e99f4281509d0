//! Numbers with what the project wants them to be, as lines of a table.

use std::fmt::Write as _;

/// One number with what the project wants it to be.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) target: Option<Bound>,
}

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    pub(crate) fn new(name: &'static str, value: f64, target: Option<Bound>) -> Figure {
        Figure { name, value, target }
    }

    /// The line of a table.
    pub(crate) fn row(&self) -> String {
        let Figure { name, value, target } = self;
        let decimals = if *value < 10.0 { 2 } else { 1 };
        let mut row = format!("| {name} | {value:.decimals$} |");
        // Writing to a string cannot fail.
        let _ = match target {
            None => write!(row, " | |"),
            Some(Bound::AtMost(bound)) => write!(row, " at most {bound} | {} |", verdict(value <= bound)),
            Some(Bound::AtLeast(bound)) => write!(row, " at least {bound} | {} |", verdict(value >= bound)),
        };
        row
    }
}

/// The word for a target.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A count as a number that can be divided.
pub(crate) fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
