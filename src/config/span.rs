//! Lengths of time in a run, as users write them: `"10%"`, `"2 epochs"`, `"1250 steps"`.

/// The unit in which a key is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Whole epochs.
    Epochs,
    /// Epochs, fractions allowed.
    FractionalEpochs,
    /// Steps.
    Steps,
}

/// A length of time in a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Span {
    /// A share of the run, 0 to 1.
    Share(f64),
    /// Epochs.
    Epochs(f64),
    /// Steps.
    Steps(f64),
}

impl Span {
    /// What [`Span::parse`] accepts, for messages.
    pub(super) const ALLOWED: &'static str = "a number, or a length such as \"10%\", \"2 epochs\" or \"1250 steps\"";

    /// Reads `10%`, `1 epoch`, `2.5 epochs`, `1250 steps`; `None` for anything else and for negative numbers.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, unit) = text.split_at(split);
        let number: f64 = number.parse().ok()?;
        match unit.trim() {
            "%" if number <= 100.0 => Some(Self::Share(number / 100.0)),
            "epoch" | "epochs" => Some(Self::Epochs(number)),
            "step" | "steps" => Some(Self::Steps(number)),
            _ => None,
        }
    }

    /// The length in `unit` for a run of `epochs` epochs of `steps_per_epoch` steps.
    pub(super) fn in_unit(self, unit: Unit, epochs: f64, steps_per_epoch: usize) -> toml::Value {
        let per_epoch = steps_per_epoch as f64;
        let length = match self {
            Self::Share(share) => share * epochs,
            Self::Epochs(length) => length,
            Self::Steps(steps) => steps / per_epoch,
        };
        match unit {
            Unit::Epochs => toml::Value::Integer(length.round() as i64),
            Unit::FractionalEpochs => toml::Value::Float(length),
            Unit::Steps => toml::Value::Integer((length * per_epoch).round() as i64),
        }
    }
}
