// SPDX-License-Identifier: MIT

fn main() {
    svsm_link::use_script("userinit", "../userlib/user.lds");
}
