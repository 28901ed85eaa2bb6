/* SPDX-License-Identifier: MIT */

#ifndef FNV_H
#define FNV_H

#include <stdint.h>

/* One step of FNV-1a. */
uint32_t fnv_step(uint32_t hash, uint8_t byte);

#endif
