/* SPDX-License-Identifier: GPL-2.0 */
/* A parameter of a module is an environment variable here, in capitals. */
#ifndef DGPU_ENV_MODULE_H
#define DGPU_ENV_MODULE_H

#include <ctype.h>
#include <stdlib.h>

#define MODULE_LICENSE(text)
#define MODULE_DESCRIPTION(text)
#define MODULE_PARM_DESC(name, text)
#define module_param(name, type, mode)					\
	__attribute__((constructor)) static void name##_from_env(void)	\
	{								\
		char upper[] = #name, *p;				\
		const char *text;					\
									\
		for (p = upper; *p; p++)				\
			*p = toupper(*p);				\
		text = getenv(upper);					\
		if (text)						\
			name = strtoull(text, NULL, 0);			\
	}								\
	struct module_param_##name

#endif
