//! One TOML value -> one typed value.
//!
//! Each function here returns a parser for the [`Reader`](crate::reader::Reader): it yields the value, or
//! reports why not and yields nothing.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::Mac;
use crate::diagnostics::{Sink, Span};
use crate::units::{UnitError, format_duration, format_size, parse_duration, parse_rate, parse_size};

/// A value where it was found.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    /// The key it belongs to, for messages.
    pub key: &'a str,
    pub value: &'a Spanned<DeValue<'a>>,
    pub sink: &'a Sink<'a>,
}

impl<'a> At<'a> {
    pub fn span(&self) -> Span {
        self.value.span()
    }

    /// Reports what is wrong with the value, and what would be right.
    pub fn report(&self, message: impl Into<String>, help: impl Into<String>) {
        self.sink.report(&self.span(), message, help);
    }

    /// Reports the value, for a parser that yields nothing then.
    pub fn refuse<T>(&self, message: impl Into<String>, help: impl Into<String>) -> Option<T> {
        self.report(message, help);
        None
    }

    /// Reports a value of the wrong type.
    pub fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::Integer(_) => "an integer",
            DeValue::Array(_) => "an array",
            DeValue::String(_) => "a string",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Table(_) => "a table",
        };
        self.refuse(format!("`{}` is {found}", self.key), format!("expected {expected}"))
    }

    fn out_of_range<T>(&self, shown: impl Display, expected: &str) -> Option<T> {
        self.refuse(format!("`{}` is out of range: {shown}", self.key), format!("expected {expected}"))
    }

    /// The value as a string.
    pub fn str(&self, expected: &str) -> Option<&'a str> {
        self.value.get_ref().as_str().or_else(|| self.wrong_type(expected))
    }

    /// The value as an integer, if it is one; one beyond `i128` saturates, as every range lies far inside.
    fn integer(&self) -> Option<i128> {
        let integer = self.value.get_ref().as_integer()?;
        let most = if integer.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
        Some(i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(most))
    }

    /// A value written either as a bare integer or as text with a unit.
    fn with_unit(&self, expected: &str, parse: fn(&str) -> Result<u64, UnitError>) -> Option<u64> {
        if let Some(n) = self.integer() {
            return u64::try_from(n).ok().or_else(|| self.out_of_range(n, expected));
        }
        parse(self.str(expected)?).map_err(|e| self.report(e.message, e.help)).ok()
    }
}

/// Any string but the empty one.
pub(crate) fn string(at: At<'_>) -> Option<String> {
    let text = at.str("a string")?;
    if text.is_empty() || text.contains('\0') {
        return at.refuse(
            format!("`{}` is empty or contains NUL", at.key),
            "leave the key out or give it a value",
        );
    }
    Some(text.to_owned())
}

/// A name of a switch, port, meter or group.
///
/// A wrong one is reported but still returned: what refers to it by that name is not a second mistake.
pub(crate) fn name(at: At<'_>) -> Option<String> {
    let expected = "1 to 15 of A-Z a-z 0-9 _ . -";
    let text = at.str(expected)?;
    if !is_name(text) {
        at.report(format!("`{}` is not a name: {text:?}", at.key), format!("expected {expected}"));
    }
    Some(text.to_owned())
}

/// Whether a text can name a switch, port, meter or group. `.` and `..` are refused because names become
/// interface and file names.
pub(crate) fn is_name(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (1..=15).contains(&text.len()) && text.bytes().all(known) && text != "." && text != ".."
}

/// `true` or `false`.
pub(crate) fn boolean(at: At<'_>) -> Option<bool> {
    at.value.get_ref().as_bool().or_else(|| at.wrong_type("true or false"))
}

/// A whole number in a range.
pub(crate) fn int<'a, T: TryFrom<i128>>(range: RangeInclusive<i128>) -> impl Fn(At<'a>) -> Option<T> {
    move |at| {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(n) = at.integer() else { return at.wrong_type(&expected) };
        let fits = T::try_from(n).ok().filter(|_| range.contains(&n));
        fits.or_else(|| at.out_of_range(n, &expected))
    }
}

/// A number, whole or not, above 0.
pub(crate) fn positive<'a>(most: f64) -> impl Fn(At<'a>) -> Option<f64> {
    move |at| {
        let expected = format!("a number above 0, at most {most}");
        let text = match at.value.get_ref() {
            DeValue::Float(float) => float.as_str().to_owned(),
            DeValue::Integer(_) => at.integer().unwrap_or_default().to_string(),
            _ => return at.wrong_type(&expected),
        };
        // A NaN is in no range.
        let fits = text.parse().ok().filter(|n| *n > 0.0 && *n <= most);
        fits.or_else(|| at.out_of_range(text, &expected))
    }
}

/// A number, whole or not, in a range.
pub(crate) fn between<'a>(least: f64, most: f64) -> impl Fn(At<'a>) -> Option<f64> {
    move |at| {
        let expected = format!("a number from {least} to {most}");
        let text = match at.value.get_ref() {
            DeValue::Float(float) => float.as_str().to_owned(),
            DeValue::Integer(_) => at.integer().unwrap_or_default().to_string(),
            _ => return at.wrong_type(&expected),
        };
        // A NaN is in no range.
        let fits = text.parse().ok().filter(|n| (least..=most).contains(n));
        fits.or_else(|| at.out_of_range(text, &expected))
    }
}

/// A duration up to `most`; the integer 0 needs no unit.
pub(crate) fn duration<'a>(most: Duration) -> impl Fn(At<'a>) -> Option<Duration> {
    move |at| {
        let expected = format!("a duration up to \"{}\", with its unit", format_duration(most));
        let duration = match at.integer() {
            Some(0) => Duration::ZERO,
            Some(n) => {
                return at
                    .refuse(format!("`{}` has no unit", at.key), format!("write \"{n}us\" or \"{n}s\""));
            }
            None => parse_duration(at.str(&expected)?).map_err(|e| at.report(e.message, e.help)).ok()?,
        };
        if duration > most { at.out_of_range(format_duration(duration), &expected) } else { Some(duration) }
    }
}

/// A size in bytes.
pub(crate) fn size<'a>(range: RangeInclusive<u64>) -> impl Fn(At<'a>) -> Option<u64> {
    move |at| {
        let (least, most) = (format_size(*range.start()), format_size(*range.end()));
        let expected = format!("a size from {least} to {most}, like 2048 or \"64KiB\"");
        let size = at.with_unit(&expected, parse_size)?;
        if range.contains(&size) { Some(size) } else { at.out_of_range(format_size(size), &expected) }
    }
}

/// A rate in bits per second. The top is beyond any memory's bandwidth and keeps products of rate and
/// nanoseconds far inside `u128`.
pub(crate) fn rate(at: At<'_>) -> Option<u64> {
    let expected = "a rate from 1bit/s to 100Tbit/s, like \"1Gbit/s\"";
    let rate = at.with_unit(expected, parse_rate)?;
    if (1..=100_000_000_000_000).contains(&rate) { Some(rate) } else { at.out_of_range(rate, expected) }
}

/// One of a few words.
pub(crate) fn word<'a, T: Copy>(words: &[(&str, T)]) -> impl Fn(At<'a>) -> Option<T> {
    move |at| {
        let expected = one_of(words.iter().map(|(word, _)| *word));
        let text = at.str(&expected)?;
        let known = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        known
            .or_else(|| at.refuse(format!("`{}` cannot be {text:?}", at.key), format!("expected {expected}")))
    }
}

/// `"a", "b" or "c"`.
pub(crate) fn one_of<'s>(words: impl IntoIterator<Item = &'s str>) -> String {
    let mut words: Vec<String> = words.into_iter().map(|word| format!("{word:?}")).collect();
    let last = words.pop().unwrap_or_default();
    if words.is_empty() { last } else { format!("{} or {last}", words.join(", ")) }
}

/// Anything that is written as a string and knows how to read itself.
pub(crate) fn parsed<'a, T: FromStr<Err = UnitError>>(expected: &str) -> impl Fn(At<'a>) -> Option<T> {
    move |at| at.str(expected)?.parse().map_err(|e: UnitError| at.report(e.message, e.help)).ok()
}

/// An Ethernet address.
pub(crate) fn mac(at: At<'_>) -> Option<Mac> {
    parsed("an Ethernet address, like \"02:00:00:00:00:01\"")(at)
}

/// The Ethernet address of one station.
pub(crate) fn unicast(at: At<'_>) -> Option<Mac> {
    let help = "the first octet must be even, and not all octets zero";
    let mac = mac(at)?;
    if mac.is_unicast() { Some(mac) } else { at.refuse(format!("{mac} is no station's address"), help) }
}

/// A user or group: a name or a number.
pub(crate) fn account(at: At<'_>) -> Option<String> {
    match at.integer() {
        Some(n) => {
            u32::try_from(n).ok().map(|n| n.to_string()).or_else(|| at.out_of_range(n, "a name or a number"))
        }
        None => string(at),
    }
}

/// An array; every wrong element is reported, the others are kept.
pub(crate) fn list<'a, T>(element: impl Fn(At<'a>) -> Option<T>) -> impl Fn(At<'a>) -> Option<Vec<T>> {
    move |at| match at.value.get_ref() {
        DeValue::Array(array) => Some(array.iter().filter_map(|value| element(At { value, ..at })).collect()),
        _ => at.wrong_type("an array: [ … ]"),
    }
}
