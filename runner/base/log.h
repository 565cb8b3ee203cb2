/* What a person sees on stderr. Warnings always; info unless -q; debug with -v. Silent on ranks other than 0. */
#ifndef RS_BASE_LOG_H
#define RS_BASE_LOG_H

typedef enum rs_log_level { RS_LOG_SILENT = -1, RS_LOG_QUIET, RS_LOG_NORMAL, RS_LOG_VERBOSE } rs_log_level;

void rs_log_set_level(rs_log_level level);
rs_log_level rs_log_get_level(void);
void rs_warn(const char *format, ...) __attribute__((format(printf, 1, 2))); /* "warning: ..." */
void rs_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void rs_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
