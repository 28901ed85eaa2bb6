// SPDX-License-Identifier: MIT

fn main() {
    svsm_link::use_script("uapi_tester", "../userlib/user.lds");
}
