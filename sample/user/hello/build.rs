// SPDX-License-Identifier: MIT

fn main() {
    svsm_link::use_script("hello", "../userlib/user.lds");
}
