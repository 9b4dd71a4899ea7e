/* SPDX-License-Identifier: GPL-2.0 */
/* Controls of the simulated device, see mock_dgpu.c. */
#ifndef MOCK_DGPU_H
#define MOCK_DGPU_H

#include <stdbool.h>
#include <stdint.h>

/* The next call of the ioctl number @nr fails with @error (negative), @times times. */
void mock_fail(unsigned int nr, int error, unsigned int times);
/* Results kept for collection, all files. */
unsigned int mock_results(void);
/* Jobs that are not done, all files. */
unsigned int mock_running(void);
/* How many results a file may keep (1024 on the real device). */
void mock_limit(unsigned int results);
/* May everything be evacuated? */
void mock_privileged(bool yes);
/* Put a record into the event ring. */
struct dgpu_event;
void mock_event(const struct dgpu_event *event);

#endif
