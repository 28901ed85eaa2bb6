// SPDX-License-Identifier: MIT

fn main() {
    svsm_link::use_script("svsm", "svsm.lds");
    svsm_link::use_script("stage2", "stage2.lds");
}
