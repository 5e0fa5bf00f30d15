/* SPDX-License-Identifier: Apache-2.0 */
/* Dates, times, timestamps and durations in columns. */
#include "batch_values.h"

#include <datetime.h>
#include <string.h>

#define DAY_SECONDS 86400
#define SECOND INT64_C(1000000) /* in microseconds */
#define DAY (DAY_SECONDS * SECOND)
#define MAX_DELTA_DAYS 106751990 /* of a timedelta that fits int64 microseconds */

static batch_put put_int64(batch_column *column, int64_t number)
{
    if (batch_column_put_fixed(column, &number, sizeof number))
        return BATCH_PUT_DONE;
    PyErr_NoMemory();
    return BATCH_PUT_FAILED;
}

static int64_t floor_divide(int64_t number, int64_t by)
{
    return number / by - (number % by < 0);
}

/* ---- the calendar ---------------------------------------------------------- */

/* Days since 1970 of a date in the proleptic Gregorian calendar; years begin in
 * March here, so that the leap day comes last. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t era = floor_divide(y, 400), of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

typedef struct civil {
    int year, month, day;
} civil;

static civil civil_of(int64_t days)
{
    int64_t shifted = days + 719468, era = floor_divide(shifted, 146097), of_era = shifted - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
    civil date = { .day = (int)(of_year - (153 * month + 2) / 5 + 1), .month = (int)(month < 10 ? month + 3 : month - 9) };
    date.year = (int)(year + era * 400) + (date.month <= 2);
    return date;
}

/* ---- dates and times ------------------------------------------------------- */

static batch_put put_date(core_state *state, batch_column *column, PyObject *value)
{
    if (!Py_IS_TYPE(value, state->types.date))
        return BATCH_PUT_MISFIT;
    int32_t days = (int32_t)days_of(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value));
    if (batch_column_put_fixed(column, &days, sizeof days))
        return BATCH_PUT_DONE;
    PyErr_NoMemory();
    return BATCH_PUT_FAILED;
}

static PyObject *date_value(const PyDateTime_CAPI *api, const batch_column *column, size_t row)
{
    civil date = civil_of(((const int32_t *)(const void *)column->values.data)[row]);
    return api->Date_FromDate(date.year, date.month, date.day, api->DateType);
}

static batch_put put_time(core_state *state, batch_column *column, PyObject *value)
{
    if (!Py_IS_TYPE(value, state->types.time) || PyDateTime_TIME_GET_TZINFO(value) != Py_None
        || PyDateTime_TIME_GET_FOLD(value) != 0)
        return BATCH_PUT_MISFIT;
    int64_t seconds = PyDateTime_TIME_GET_HOUR(value) * 3600 + PyDateTime_TIME_GET_MINUTE(value) * 60
                      + PyDateTime_TIME_GET_SECOND(value);
    return put_int64(column, seconds * SECOND + PyDateTime_TIME_GET_MICROSECOND(value));
}

static PyObject *time_value(const PyDateTime_CAPI *api, const batch_column *column, size_t row)
{
    int64_t time = batch_column_int64(column, row), seconds = time / SECOND;
    return api->Time_FromTime((int)(seconds / 3600), (int)(seconds / 60 % 60), (int)(seconds % 60),
                              (int)(time % SECOND), Py_None, api->TimeType);
}

static batch_put put_duration(core_state *state, batch_column *column, PyObject *value)
{
    if (!Py_IS_TYPE(value, state->types.timedelta))
        return BATCH_PUT_MISFIT;
    int64_t days = PyDateTime_DELTA_GET_DAYS(value);
    if (days > MAX_DELTA_DAYS || days < -MAX_DELTA_DAYS)
        return BATCH_PUT_MISFIT;
    return put_int64(column, days * DAY + PyDateTime_DELTA_GET_SECONDS(value) * SECOND
                                 + PyDateTime_DELTA_GET_MICROSECONDS(value));
}

static PyObject *duration_value(const PyDateTime_CAPI *api, const batch_column *column, size_t row)
{
    int64_t time = batch_column_int64(column, row), days = floor_divide(time, DAY), rest = time - days * DAY;
    return api->Delta_FromDelta((int)days, (int)(rest / SECOND), (int)(rest % SECOND), 0, api->DeltaType);
}

/* ---- timestamps ------------------------------------------------------------ */

static int64_t delta_microseconds(PyObject *delta)
{
    return PyDateTime_DELTA_GET_DAYS(delta) * DAY + PyDateTime_DELTA_GET_SECONDS(delta) * SECOND
           + PyDateTime_DELTA_GET_MICROSECONDS(delta);
}

/* What the clock on the wall shows, as if that were UTC. */
static int64_t wall_of(PyObject *value)
{
    int64_t days = days_of(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value));
    int64_t seconds = PyDateTime_DATE_GET_HOUR(value) * 3600 + PyDateTime_DATE_GET_MINUTE(value) * 60
                      + PyDateTime_DATE_GET_SECOND(value);
    return days * DAY + seconds * SECOND + PyDateTime_DATE_GET_MICROSECOND(value);
}

static PyObject *datetime_of(const PyDateTime_CAPI *api, int64_t wall, PyObject *zone)
{
    int64_t days = floor_divide(wall, DAY), rest = wall - days * DAY, seconds = rest / SECOND;
    civil date = civil_of(days);
    return api->DateTime_FromDateAndTime(date.year, date.month, date.day, (int)(seconds / 3600),
                                         (int)(seconds / 60 % 60), (int)(seconds % 60), (int)(rest % SECOND), zone,
                                         api->DateTimeType);
}

/* A time in UTC as the zone's clocks show it. */
static PyObject *datetime_in(const PyDateTime_CAPI *api, int64_t utc, PyObject *zone)
{
    PyObject *moment = datetime_of(api, utc, zone);
    PyObject *local = moment == NULL ? NULL : PyObject_CallMethod(zone, "fromutc", "O", moment);
    Py_XDECREF(moment);
    return local;
}

static bool is_same_moment(const PyDateTime_CAPI *api, PyObject *value, PyObject *other)
{
    return PyObject_TypeCheck(other, api->DateTimeType) && wall_of(value) == wall_of(other)
           && PyDateTime_DATE_GET_FOLD(value) == PyDateTime_DATE_GET_FOLD(other);
}

/* Of a ZoneInfo: a time that its clocks never show would come back as another. */
static batch_put put_named(core_state *state, batch_part *part, PyObject *value)
{
    const PyDateTime_CAPI *api = state->types.datetime_api;
    PyObject *offset = PyObject_CallMethod(value, "utcoffset", NULL);
    if (offset == NULL)
        return BATCH_PUT_FAILED;
    bool has_offset = Py_IS_TYPE(offset, state->types.timedelta);
    int64_t utc = has_offset ? wall_of(value) - delta_microseconds(offset) : 0;
    Py_DECREF(offset);
    PyObject *back = has_offset ? datetime_in(api, utc, part->zone) : NULL;
    if (back == NULL) {
        if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError) && !PyErr_ExceptionMatches(PyExc_ValueError))
            return BATCH_PUT_FAILED;
        PyErr_Clear(); /* at the ends of the calendar */
        return BATCH_PUT_MISFIT;
    }
    bool same = is_same_moment(api, value, back);
    Py_DECREF(back);
    return same ? put_int64(part->column, utc) : BATCH_PUT_MISFIT;
}

/* Are two datetime.timezone the same, name and all? */
static int are_alike(core_state *state, PyObject *zone, PyObject *other)
{
    PyObject *ours = PyObject_CallMethodNoArgs(zone, state->types.str_getinitargs);
    PyObject *theirs = ours == NULL ? NULL : PyObject_CallMethodNoArgs(other, state->types.str_getinitargs);
    int alike = theirs == NULL ? -1 : PyObject_RichCompareBool(ours, theirs, Py_EQ);
    Py_XDECREF(ours);
    Py_XDECREF(theirs);
    return alike;
}

static batch_put in_zone(core_state *state, batch_part *part, PyObject *zone)
{
    if (zone == part->zone || (zone == Py_None && part->zone == NULL))
        return BATCH_PUT_DONE;
    if (part->column->rows == part->column->null_count && !part->column->is_declared)
        return batch_part_set_zone(state, part, zone); /* the first value */
    if (part->column->zone != BATCH_FIXED || !Py_IS_TYPE(zone, state->types.timezone))
        return BATCH_PUT_MISFIT;
    int alike = are_alike(state, part->zone, zone);
    return alike < 0 ? BATCH_PUT_FAILED : alike == 1 ? BATCH_PUT_DONE : BATCH_PUT_MISFIT;
}

static batch_put put_timestamp(core_state *state, batch_part *part, PyObject *value)
{
    if (!Py_IS_TYPE(value, state->types.datetime))
        return BATCH_PUT_MISFIT;
    batch_put outcome = in_zone(state, part, PyDateTime_DATE_GET_TZINFO(value));
    if (outcome != BATCH_PUT_DONE)
        return outcome;
    if (part->column->zone == BATCH_NAMED)
        return put_named(state, part, value);
    if (PyDateTime_DATE_GET_FOLD(value) != 0)
        return BATCH_PUT_MISFIT;
    return put_int64(part->column, wall_of(value) - part->column->zone_offset);
}

static PyObject *timestamp_value(const PyDateTime_CAPI *api, const batch_part *part, size_t row)
{
    int64_t time = batch_column_int64(part->column, row);
    if (part->column->zone == BATCH_NAMED)
        return datetime_in(api, time, part->zone);
    return datetime_of(api, time + part->column->zone_offset, part->zone != NULL ? part->zone : Py_None);
}

/* ---- zones ----------------------------------------------------------------- */

/* Arrow knows offsets of whole minutes; others are exported as UTC, which is what
 * the numbers are in. */
static void name_offset(batch_column *column)
{
    int64_t minutes = column->zone_offset / (60 * SECOND);
    if (minutes == 0 || minutes * 60 * SECOND != column->zone_offset) {
        strcpy(column->zone_name, "UTC");
        return;
    }
    int size = (int)(minutes < 0 ? -minutes : minutes);
    PyOS_snprintf(column->zone_name, sizeof column->zone_name, "%c%02d:%02d", minutes < 0 ? '-' : '+', size / 60, size % 60);
}

static batch_put set_fixed(batch_column *column, PyObject *zone)
{
    PyObject *offset = PyObject_CallMethod(zone, "utcoffset", "O", Py_None);
    if (offset == NULL)
        return BATCH_PUT_FAILED;
    column->zone_offset = delta_microseconds(offset);
    column->zone = BATCH_FIXED;
    Py_DECREF(offset);
    name_offset(column);
    return BATCH_PUT_DONE;
}

static batch_put set_named(core_state *state, batch_column *column, PyObject *zone)
{
    PyObject *key = PyObject_GetAttr(zone, state->types.str_key);
    if (key == NULL)
        return BATCH_PUT_FAILED;
    const char *name = PyUnicode_Check(key) ? PyUnicode_AsUTF8(key) : NULL;
    bool known = name != NULL && strlen(name) < sizeof column->zone_name;
    if (known) {
        strcpy(column->zone_name, name);
        column->zone = BATCH_NAMED;
    }
    PyErr_Clear();
    Py_DECREF(key);
    return known ? BATCH_PUT_DONE : BATCH_PUT_MISFIT;
}

batch_put batch_part_set_zone(core_state *state, batch_part *part, PyObject *zone)
{
    batch_column *column = part->column;
    column->zone = BATCH_NAIVE;
    column->zone_offset = 0;
    column->zone_name[0] = '\0';
    Py_CLEAR(part->zone);
    if (zone == Py_None)
        return BATCH_PUT_DONE;
    batch_put outcome = BATCH_PUT_MISFIT;
    if (Py_IS_TYPE(zone, state->types.timezone)) {
        outcome = set_fixed(column, zone);
    } else {
        PyTypeObject *zoneinfo = core_zoneinfo(&state->types);
        if (zoneinfo == NULL)
            return BATCH_PUT_FAILED;
        if (Py_IS_TYPE(zone, zoneinfo))
            outcome = set_named(state, column, zone);
    }
    if (outcome == BATCH_PUT_DONE)
        part->zone = Py_NewRef(zone);
    return outcome;
}

/* ---- all of them ----------------------------------------------------------- */

batch_put batch_put_moment(core_state *state, batch_part *part, PyObject *value)
{
    switch (part->column->kind) {
    case BATCH_DATE:
        return put_date(state, part->column, value);
    case BATCH_TIME:
        return put_time(state, part->column, value);
    case BATCH_DURATION:
        return put_duration(state, part->column, value);
    default:
        return put_timestamp(state, part, value);
    }
}

PyObject *batch_moment_value(core_state *state, const batch_part *part, size_t row)
{
    const PyDateTime_CAPI *api = state->types.datetime_api;
    switch (part->column->kind) {
    case BATCH_DATE:
        return date_value(api, part->column, row);
    case BATCH_TIME:
        return time_value(api, part->column, row);
    case BATCH_DURATION:
        return duration_value(api, part->column, row);
    default:
        return timestamp_value(api, part, row);
    }
}
