/* SPDX-License-Identifier: MIT */

#ifndef TPM_H
#define TPM_H

#include <stddef.h>
#include <stdint.h>

#define TPM_START 0x811c9dc5

extern const char tpm_build[];
uint32_t tpm_extend(uint32_t reg, const uint8_t *event, size_t size);

#endif
