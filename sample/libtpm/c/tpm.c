/* SPDX-License-Identifier: MIT */

#include "tpm.h"

#include "../fnv/fnv.h"

/* The path of the build gets into the image, as in the TPM's reference code. */
const char tpm_build[] = "TPM " __FILE__;

uint32_t tpm_extend(uint32_t reg, const uint8_t *event, size_t size)
{
	for (size_t i = 0; i < size; i++)
		reg = fnv_step(reg, event[i]);
	return reg;
}
