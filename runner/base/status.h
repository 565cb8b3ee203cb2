/* Errors. Every fallible function returns an rs_status; the first failure on a thread records one message
 * (what failed, where, which value), and callers only pass the status up. main.c alone turns it into an exit code. */
#ifndef RS_BASE_STATUS_H
#define RS_BASE_STATUS_H

typedef enum rs_status {
    RS_OK = 0,
    RS_INVALID, /* the user's to correct: config, option, checkpoint, tokenizer, data file, output folder; exit 2 */
    RS_IO,      /* the system refused a read, write or device; exit 1 (75 where the run can be resumed) */
    RS_NO_MEMORY,
    RS_INTERNAL, /* a bug or a broken peer; exit 1 */
    RS_STOPPED,  /* asked to stop (signal); exit 75 */
    RS_PEER      /* another rank failed, and has the reason */
} rs_status;

/* Records the message unless one stands already (the first failure is the cause), and returns `status`. */
rs_status rs_fail(rs_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Message of this thread's first failure since the last clear; "" if none. Borrowed until the next rs_fail or clear. */
const char *rs_error_message(void);
void rs_error_clear(void);

/* Pass a failure up: by return, or through the function's single `out:` label (which needs a local `rs_status status`). */
#define RS_TRY(expr)                                                                                                                       \
    do {                                                                                                                                   \
        rs_status rs_try_status_ = (expr);                                                                                                 \
        if (rs_try_status_ != RS_OK)                                                                                                       \
            return rs_try_status_;                                                                                                         \
    } while (0)
#define RS_TRY_OUT(expr)                                                                                                                   \
    do {                                                                                                                                   \
        status = (expr);                                                                                                                   \
        if (status != RS_OK)                                                                                                               \
            goto out;                                                                                                                      \
    } while (0)

#endif
