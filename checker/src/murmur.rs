//! Which partition an aggregate belongs to, computed anew.

/// The partition of an aggregate id among `partitions`: Kafka's default partitioner for keyed records.
pub fn partition(id: &str, partitions: u32) -> u32 {
    // Kafka's Java client clears the sign bit before it takes the remainder.
    let positive = hash(id.as_bytes()) & (u32::MAX >> 1);
    positive % partitions.max(1)
}

/// MurmurHash 2 (Austin Appleby), seeded as in Kafka's `Utils.murmur2`.
pub fn hash(key: &[u8]) -> u32 {
    let multiplier: u32 = 1_540_483_477;
    let mut state = 2_538_058_380_u32 ^ key.len() as u32;
    let mut position = 0;
    while key.len() - position >= 4 {
        let mut word = 0_u32;
        for shift in 0..4 {
            word |= u32::from(key[position + shift]) << (shift * 8);
        }
        word = word.wrapping_mul(multiplier);
        word = (word ^ (word >> 24)).wrapping_mul(multiplier);
        state = state.wrapping_mul(multiplier) ^ word;
        position += 4;
    }
    let left = &key[position..];
    if !left.is_empty() {
        for (place, byte) in left.iter().enumerate().rev() {
            state ^= u32::from(*byte) << (place * 8);
        }
        state = state.wrapping_mul(multiplier);
    }
    state = (state ^ (state >> 13)).wrapping_mul(multiplier);
    state ^ (state >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors published with Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn agrees_with_kafkas_published_vectors() {
        let vectors = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, expected) in vectors {
            assert_eq!(hash(text.as_bytes()).cast_signed(), expected, "{text}");
        }
        assert_eq!(partition("21", 16), (-973_932_308_i32).cast_unsigned() % (1 << 31) % 16);
    }
}
