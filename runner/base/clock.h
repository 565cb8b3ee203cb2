/* Elapsed time. */
#ifndef RS_BASE_CLOCK_H
#define RS_BASE_CLOCK_H

/* Seconds since some fixed moment, never going back: only differences mean something. */
double rs_clock(void);

#endif
