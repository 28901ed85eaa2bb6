// SPDX-License-Identifier: MIT

fn main() {
    svsm_link::use_script("tdx-stage1", "stage1.lds");
}
