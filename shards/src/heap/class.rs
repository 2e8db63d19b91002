//! Size classes: which strides the pages of records are cut into.
//!
//! Records are packed bytes without alignment, so a stride may be any number: exact up to 128 bytes, then in steps of at
//! most 1/16 that divide a page without a tail.

use crate::arena::PAGE_BYTES;

/// Longest record that lives in a page. Longer ones have an allocation of their own.
pub(crate) const RECORD_BYTES_MAX: usize = 2048;

/// A free slot holds the number of the next one; 16 also keeps a page below the slots a handle can count.
const RECORD_BYTES_MIN: usize = 16;

/// Up to here every length has its own stride.
const EXACT_BYTES_MAX: usize = 128;
const EXACT_COUNT: usize = EXACT_BYTES_MAX - RECORD_BYTES_MIN + 1;

/// Slots a handle can count within one page.
const SLOTS_MAX: usize = 1 << 12;
const _: () = assert!(PAGE_BYTES / RECORD_BYTES_MIN <= SLOTS_MAX);

const STEP_COUNT: usize = count_steps();
const RECORD_COUNT: usize = EXACT_COUNT + STEP_COUNT;
/// How many classes there are.
pub(crate) const CLASS_COUNT: usize = RECORD_COUNT + 1;
const _: () = assert!(CLASS_COUNT < 256, "a class is kept in one byte");

/// Descriptors of large records have pages of their own, so that all bodies can be found.
pub(crate) const CLASS_DESCRIPTOR: u8 = (CLASS_COUNT - 1) as u8;
/// Bytes of one descriptor's slot.
pub(crate) const DESCRIPTOR_BYTES: usize = RECORD_BYTES_MIN;

/// Bytes per slot of each class.
pub(crate) static STRIDES: [u16; CLASS_COUNT] = strides();

/// Steps above [`EXACT_BYTES_MAX`] are looked up by eighths of their length.
static STEPS: [u8; (RECORD_BYTES_MAX - EXACT_BYTES_MAX) / 8] = steps();

/// The class for a record of `bytes`, at most [`RECORD_BYTES_MAX`].
#[inline]
pub(crate) fn record_class(bytes: usize) -> u8 {
    debug_assert!(bytes <= RECORD_BYTES_MAX);
    if bytes <= EXACT_BYTES_MAX {
        return bytes.saturating_sub(RECORD_BYTES_MIN) as u8;
    }
    let class = STEPS[(bytes - EXACT_BYTES_MAX - 1) / 8];
    if usize::from(STRIDES[usize::from(class)]) >= bytes { class } else { class + 1 }
}

/// Slots in a page of this class.
#[inline]
pub(crate) fn slots_per_page(class: u8) -> u16 {
    (PAGE_BYTES / usize::from(STRIDES[usize::from(class)])) as u16
}

/// The stride after `stride`: at most 1/16 more, dividing a page with nearly nothing left.
const fn stride_after(stride: usize) -> usize {
    let limit = stride + stride / 16;
    let slots = PAGE_BYTES.div_ceil(limit);
    let next = PAGE_BYTES / slots;
    if next > RECORD_BYTES_MAX { RECORD_BYTES_MAX } else { next }
}

const fn count_steps() -> usize {
    let (mut count, mut stride) = (0, EXACT_BYTES_MAX);
    while stride < RECORD_BYTES_MAX {
        stride = stride_after(stride);
        count += 1;
    }
    count
}

const fn strides() -> [u16; CLASS_COUNT] {
    let mut strides = [0; CLASS_COUNT];
    let mut class = 0;
    while class < EXACT_COUNT {
        strides[class] = (RECORD_BYTES_MIN + class) as u16;
        class += 1;
    }
    let mut stride = EXACT_BYTES_MAX;
    while class < RECORD_COUNT {
        stride = stride_after(stride);
        strides[class] = stride as u16;
        class += 1;
    }
    strides[class] = DESCRIPTOR_BYTES as u16;
    strides
}

const fn steps() -> [u8; (RECORD_BYTES_MAX - EXACT_BYTES_MAX) / 8] {
    let strides = strides();
    let mut steps = [0; (RECORD_BYTES_MAX - EXACT_BYTES_MAX) / 8];
    let (mut index, mut class) = (0, EXACT_COUNT);
    while index < steps.len() {
        // The shortest length that looks here; steps are at least 8 apart, so the longest is at most one class above.
        while (strides[class] as usize) < EXACT_BYTES_MAX + 1 + index * 8 {
            class += 1;
        }
        steps[index] = class as u8;
        index += 1;
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_gets_the_tightest_stride() {
        for bytes in 0..=RECORD_BYTES_MAX {
            let class = usize::from(record_class(bytes));
            let stride = usize::from(STRIDES[class]);
            assert!(class < RECORD_COUNT && stride >= bytes, "{bytes} in {stride}");
            assert!(class == 0 || usize::from(STRIDES[class - 1]) < bytes, "{bytes} in {stride}: a smaller one would do");
            assert!(bytes < RECORD_BYTES_MIN || stride - bytes <= bytes / 16, "{bytes} in {stride} wastes more than a sixteenth");
            assert!(PAGE_BYTES % stride < PAGE_BYTES / 50, "{stride} leaves a tail");
        }
    }
}
