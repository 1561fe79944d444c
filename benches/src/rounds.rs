//! Statistics of few numbers.

/// The middle one, or the mean of the two in the middle.
///
/// # Panics
/// If there is none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = ((sorted.len() - 1) / 2, sorted.len() / 2);
    (sorted[low] + sorted[high]) / 2.0
}

/// The median of the rounds' ratios: what disturbs a round disturbs both sides of it.
pub fn ratio(above: &[f64], below: &[f64]) -> f64 {
    let ratios: Vec<f64> = above.iter().zip(below).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// `digits` significant digits: more would claim a precision that is not there.
pub fn rounded(value: f64, digits: i32) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powi(digits - 1 - value.abs().log10().floor() as i32);
    // Dividing by what is a whole number gives the nearest number that prints short.
    if scale >= 1.0 { (value * scale).round() / scale } else { (value * scale).round() * (1.0 / scale).round() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_digits() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(ratio(&[2.0, 30.0, 8.0], &[1.0, 10.0, 2.0]), 3.0);
        assert_eq!(rounded(1_234_567.0, 3), 1_230_000.0);
        assert_eq!(rounded(0.123_456, 3), 0.123);
        assert_eq!(rounded(2.346, 3).to_string(), "2.35");
        assert_eq!(rounded(0.0, 3), 0.0);
    }
}
