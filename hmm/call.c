// SPDX-License-Identifier: GPL-2.0
/*
 * A call on a mirror that may sleep for long: what it holds meanwhile.
 *
 * It holds the address space, what its mirrors share and the memory of the device, but
 * not the mirror: that may be released in the middle of the call, which must not have to
 * wait for a userfaultfd handler or a disk (see hmm_mirror_unregister()).  The driver
 * keeps the mirror in memory, and the call finds it DYING where it needs it LIVE.
 *
 * States: none.  Locks: none; takes references in an SRCU read section.
 */
#include <linux/cred.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include "hmm_private.h"

/**
 * hmm_call_begin - take what a call on a mirror needs
 * @call: filled in
 * @mirror: mirror, in any state
 *
 * Memory that the thread allocates until hmm_call_end() is for the process, and its
 * cgroup is charged, whichever thread this is.  And what it may do is what the process
 * might when it registered the mirror, as it is with a file and who has opened it: a thread
 * of the kernel would get space on a disk that is kept for root, or beyond a quota.
 *
 * Context: Process context, may sleep.
 * Return: 0; -ENODEV @mirror was never registered, or it or its device is being
 * unregistered; -ESRCH the address space is gone.
 */
int hmm_call_begin(struct hmm_call *call, struct hmm_mirror *mirror)
{
	int idx, ret = 0;

	if (hmm_mirror_state(mirror) == HMM_MIRROR_NEW)
		return -ENODEV;
	call->mirror = mirror;
	call->rmem = NULL;
	/*
	 * Who sees LIVE in here has a mirror that holds its hmm_mm and credentials, and a
	 * device that holds its memory, until after the grace period of the mirror's
	 * release; in any other state they may be gone.
	 */
	idx = srcu_read_lock(&hmm_mirror_srcu);
	if (!hmm_mirror_is_live(mirror)) {
		ret = mirror->stop_error;
	} else if (!mmget_not_zero(mirror->mm)) {
		ret = -ESRCH;
	} else {
		call->hmm = mirror->hmm;
		kref_get(&call->hmm->ref);
		call->rmem = mirror->device->rmem;
		call->owner = hmm_device_owner(mirror->device);
		call->cred = get_cred(mirror->cred);
		if (call->rmem)
			hmm_rmem_get(call->rmem);
	}
	srcu_read_unlock(&hmm_mirror_srcu, idx);
	if (ret)
		return ret;
	call->old_cred = override_creds(call->cred);
	call->memcg = get_mem_cgroup_from_mm(call->hmm->mm);
	call->old_memcg = set_active_memcg(call->memcg);
	return 0;
}

/**
 * hmm_call_end - give back what hmm_call_begin() took
 * @call: the call
 *
 * Context: Process context, the thread that began it, no mm lock held.
 */
void hmm_call_end(struct hmm_call *call)
{
	set_active_memcg(call->old_memcg);
	mem_cgroup_put(call->memcg);
	revert_creds(call->old_cred);
	put_cred(call->cred);
	if (call->rmem)
		hmm_rmem_put(call->rmem);
	/* If the process is gone by now, its teardown is not for this thread. */
	mmput_async(call->hmm->mm);
	hmm_mm_put(call->hmm);
}
