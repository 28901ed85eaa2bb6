// SPDX-License-Identifier: MIT

fn main() {
    svsm_link::use_script("svsm", "svsm.lds");
    svsm_link::use_script("stage2", "stage2.lds");
    // Relative to the workspace, but cargo resolves it relative to the package, where there is no such file. Real
    // scripts have such lines, and cargo runs them on every call.
    println!("cargo:rerun-if-changed=kernel/svsm.lds");
}
