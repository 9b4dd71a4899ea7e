/* SPDX-License-Identifier: GPL-2.0 */
/* What notes.c shows to the tests: when a page is taken to be thrashed. */
#ifndef _HMM_NOTES_H
#define _HMM_NOTES_H

/* hmm_notes_now() is nanoseconds >> this. */
#define HMM_NOTES_TIME_SHIFT	20

extern unsigned int hmm_notes_bounces;
extern unsigned int hmm_notes_lapse;
extern unsigned int hmm_notes_hold;

#endif /* _HMM_NOTES_H */
