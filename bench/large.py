"""A tree of realistic size: thousands of C and Rust files, and a kernel that is slow to compile.

The sample is too small to show what a run does with thousands of inputs, and how that compares with seconds of compiling.
"""

from __future__ import annotations

from pathlib import Path

C_FILES, HEADERS, RUST_FILES = 60, 2900, 500
"""About as many as in SVSM with its virtual TPM, but fewer of them are compiled."""
_RULE = """
GENERATED := $(patsubst $(SOURCE)/more/%.c,%.o,$(wildcard $(SOURCE)/more/*.c))

libtpm.a: $(GENERATED)

more%.o: $(SOURCE)/more/more%.c
	$(CC) $(CFLAGS) -c -o $@ $<
"""


def add_inputs(tree: Path) -> None:
    """Add the files to the packages ``libtpm`` and ``svsm`` in a copy of the sample."""
    more = tree / "libtpm" / "c" / "more"
    more.mkdir()
    each = HEADERS // C_FILES
    for number in range(HEADERS):
        (more / f"part{number:04}.h").write_text(f"static inline int part{number}(int x) {{ return x ^ {number}; }}\n")
    for number in range(C_FILES):
        headers = range(number * each, (number + 1) * each)
        lines = [f'#include "part{header:04}.h"' for header in headers]
        sum_of_parts = " + ".join(f"part{header}(x)" for header in headers)
        (more / f"more{number:02}.c").write_text(
            "\n".join(
                [*lines, f"int more{number}(int x);", f"int more{number}(int x) {{ return {sum_of_parts}; }}", ""]
            )
        )
    makefile = more.parent / "Makefile"
    makefile.write_text(makefile.read_text() + _RULE)
    rust = tree / "kernel" / "src" / "more"
    rust.mkdir()
    for number in range(RUST_FILES):
        (rust / f"part{number:03}.rs").write_text(f"pub const fn part(x: u64) -> u64 {{ x ^ {number} }}\n")
    modules = "".join(f"mod part{number:03};\n" for number in range(RUST_FILES))
    values = ", ".join(f"part{number:03}::part({number})" for number in range(RUST_FILES))
    (rust / "mod.rs").write_text(f"{modules}\n#[used]\npub static PARTS: [u64; {RUST_FILES}] = [{values}];\n")
    main = tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text().replace("mod heap;", "mod heap;\nmod more;", 1))
