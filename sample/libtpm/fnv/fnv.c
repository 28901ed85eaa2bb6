/* SPDX-License-Identifier: MIT */

#include "fnv.h"

#include "config.h"

uint32_t fnv_step(uint32_t hash, uint8_t byte)
{
	return (hash ^ byte) * FNV_PRIME;
}
