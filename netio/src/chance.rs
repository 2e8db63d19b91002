//! Chance from the machine, for seeds.

/// Sixty-four bits from the kernel's generator.
pub(crate) fn machine_entropy() -> u64 {
    let mut bits: u64 = 0;
    let mut filled = 0;
    while filled < size_of::<u64>() {
        // SAFETY: the rest of `bits` is valid for writing that many bytes.
        let got = unsafe { libc::getrandom((&raw mut bits).cast::<u8>().add(filled).cast(), size_of::<u64>() - filled, 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            // Only a signal before the generator is ready interrupts it; every other reason is a broken machine.
            Err(_) => assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINTR), "the machine gives no entropy"),
        }
    }
    bits
}
