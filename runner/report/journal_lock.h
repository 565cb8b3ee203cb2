/* One writer a folder. journal/lock is locked by flock and names its holder: host, pid, and when that process began. Where locks do not
 * reach other hosts, or are not there at all, the name counts: a holder on this host is looked for, one on another host is given some
 * seconds to show that it lives, for a holder touches the file every other second. A run that ends in order leaves the file empty; what a
 * dead one left is taken over. */
#ifndef RS_REPORT_JOURNAL_LOCK_H
#define RS_REPORT_JOURNAL_LOCK_H

#include "base/status.h"

typedef struct rs_journal_lock rs_journal_lock;

/* folder: journal/. RS_INVALID, naming host and pid, where another run holds it. */
rs_status rs_journal_lock_take(const char *folder, rs_journal_lock **out);
/* NULL is fine. */
void rs_journal_lock_release(rs_journal_lock *lock);

#endif
