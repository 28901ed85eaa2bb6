// SPDX-License-Identifier: MIT

fn main() {
    svsm_link::use_script("bldr", "bldr.lds");
}
