// SPDX-License-Identifier: MIT

fn main() {
    svsm_link::use_script("svsm", "svsm.lds");
    svsm_link::use_script("stage2", "stage2.lds");
    // Relative to the workspace, where cargo takes it as relative to the package: there is no such file. Real scripts
    // have such lines, and cargo runs them at every call.
    println!("cargo:rerun-if-changed=kernel/svsm.lds");
}
