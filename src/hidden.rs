//! Symbols for the linker: `build.rs` lets the functions of other libraries, in C, go to ours.

/// Gives functions names that the linker finds and the shared library does not export, unlike those of `no_mangle`.
macro_rules! hidden {
    ($($symbol:literal => $function:ident),* $(,)?) => {
        $(
            #[cfg(target_arch = "x86_64")]
            hidden!(@ "jmp", $symbol, $function);
            #[cfg(target_arch = "aarch64")]
            hidden!(@ "b", $symbol, $function);
        )*
    };
    (@ $jump:literal, $symbol:literal, $function:ident) => {
        std::arch::global_asm!(
            concat!(".pushsection .text.", $symbol, ",\"ax\",@progbits"),
            ".balign 16",
            concat!(".globl ", $symbol),
            concat!(".hidden ", $symbol),
            concat!(".type ", $symbol, ",@function"),
            concat!($symbol, ": ", $jump, " {function}"),
            concat!(".size ", $symbol, ", .-", $symbol),
            ".popsection",
            function = sym $function,
        );
    };
}
