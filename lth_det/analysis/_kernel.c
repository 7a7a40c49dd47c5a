/* The hot loops of COCO evaluation for up to 64 object groups at once. Plain C99, no Python API: loaded with ctypes.
 *
 * Compiled with -ffp-contract=off so that every product and sum rounds as in pycocotools. Functions return 0, or 1 when
 * memory ran out. Layouts are those of cells.py: M detections sorted by (image, class) cell, N annotations likewise.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 8 /* bootstrap replicates computed side by side */

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

static const double TINY = 2.220446049250313e-16; /* np.spacing(1), as in pycocotools' precision */

int lth_abi(void) { return 1; }

static double larger(double a, double b) { return a > b ? a : b; }
static double smaller(double a, double b) { return a < b ? a : b; }

/* IoU of every detection with every annotation of its cell; the order of operations is that of maskApi.c bbIou. */
int lth_box_iou(int64_t cells, const int64_t *doff, const int64_t *goff, const int64_t *ioff, const double *db,
                const double *gb, const uint8_t *crowd, double *out) {
  for (int64_t c = 0; c < cells; ++c) {
    int64_t g0 = goff[c], ng = goff[c + 1] - g0;
    if (!ng) continue;
    for (int64_t d = doff[c]; d < doff[c + 1]; ++d) {
      const double *D = db + 4 * d;
      double *row = out + ioff[c] + (d - doff[c]) * ng, da = D[2] * D[3];
      for (int64_t j = 0; j < ng; ++j) {
        const double *G = gb + 4 * (g0 + j);
        double w = smaller(D[2] + D[0], G[2] + G[0]) - larger(D[0], G[0]);
        double h = smaller(D[3] + D[1], G[3] + G[1]) - larger(D[1], G[1]);
        row[j] = 0;
        if (w <= 0 || h <= 0) continue;
        double i = w * h, ga = G[2] * G[3];
        row[j] = i / (crowd[g0 + j] ? da : da + ga - i);
      }
    }
  }
  return 0;
}

/* Bit k of hit / ignored says what a detection is for group k. gin: groups an annotation is an object of (0 when it is
 * ignored everywhere). din: groups where an unmatched detection is a false positive. Groups that see the same in/out
 * pattern over a cell share one matching, which is why 64 groups cost little more than 4. match: group 0's annotation.
 */
int lth_match(int64_t cells, int64_t nt, const double *thr, uint64_t all, const int64_t *doff, const int64_t *goff,
              const int64_t *ioff, const double *iou, const uint8_t *crowd, const uint64_t *gin, const uint64_t *din,
              int64_t nd, uint64_t *hit, uint64_t *ignored, int32_t *match) {
  int64_t widest = 1;
  for (int64_t c = 0; c < cells; ++c)
    if (goff[c + 1] - goff[c] > widest) widest = goff[c + 1] - goff[c];
  uint8_t *used = malloc((size_t)widest);
  int64_t *order = malloc((size_t)widest * sizeof *order);
  if (!used || !order) {
    free(used);
    free(order);
    return 1;
  }
  for (int64_t t = 0; t < nt; ++t)
    for (int64_t d = 0; d < nd; ++d) {
      hit[t * nd + d] = 0;
      ignored[t * nd + d] = ~din[d] & all;
      match[t * nd + d] = -1;
    }
  for (int64_t c = 0; c < cells; ++c) {
    int64_t d0 = doff[c], n = doff[c + 1] - d0, g0 = goff[c], ng = goff[c + 1] - g0;
    if (!n || !ng) continue;
    uint64_t todo = all;
    while (todo) {
      int k = __builtin_ctzll(todo);
      uint64_t same = todo;
      int64_t nin = 0, at = 0;
      for (int64_t j = 0; j < ng; ++j) same &= ((gin[g0 + j] >> k) & 1) ? gin[g0 + j] : ~gin[g0 + j];
      todo &= ~same;
      for (int64_t j = 0; j < ng; ++j)
        if ((gin[g0 + j] >> k) & 1) order[at++] = j;
      nin = at;
      for (int64_t j = 0; j < ng; ++j)
        if (!((gin[g0 + j] >> k) & 1)) order[at++] = j;
      for (int64_t t = 0; t < nt; ++t) {
        memset(used, 0, (size_t)ng);
        double floor_ = smaller(thr[t], 1 - 1e-10);
        for (int64_t d = 0; d < n; ++d) {
          const double *row = iou + ioff[c] + d * ng;
          double best = floor_;
          int64_t m = -1;
          for (int64_t i = 0; i < ng; ++i) {
            if (i == nin && m >= 0) break; /* holds an object: ignored annotations are not looked at */
            int64_t j = order[i];
            if (row[j] < best || (used[j] && !crowd[g0 + j])) continue; /* of equals the last wins */
            best = row[j];
            m = i;
          }
          if (m < 0) continue;
          int64_t where = t * nd + d0 + d;
          used[order[m]] = 1;
          if (m < nin) {
            hit[where] |= same;
            ignored[where] &= ~same;
          } else {
            ignored[where] |= same;
          }
          if (same & 1) match[where] = (int32_t)(g0 + order[m]);
        }
      }
    }
  }
  free(used);
  free(order);
  return 0;
}

/* How many of the nr ascending recall points are <= x. The points are about 1 / (nr - 1) apart. */
static int64_t reached(double x, const double *rec, int64_t nr) {
  int64_t i = (int64_t)(x * (double)(nr - 1)) + 1;
  if (i > nr) i = nr;
  if (i < 0) i = 0;
  while (i > 0 && rec[i - 1] > x) --i;
  while (i < nr && rec[i] <= x) ++i;
  return i;
}

/* Mean over the recall points of the monotone precision; pr is overwritten. curve may be NULL. */
static double area_under(const double *rc, double *pr, int64_t n, const double *rec, int64_t nr, double *curve) {
  double sum = 0;
  int64_t done = 0;
  for (int64_t i = n - 2; i >= 0; --i) pr[i] = larger(pr[i], pr[i + 1]);
  for (int64_t i = 0; i < n && done < nr; ++i) {
    int64_t to = reached(rc[i], rec, nr);
    for (; done < to; ++done) {
      sum += pr[i];
      if (curve) curve[done] = pr[i];
    }
  }
  if (curve)
    for (; done < nr; ++done) curve[done] = 0;
  return sum / (double)nr;
}

/* ap, apn: (nt, nk, ng); recall: (nl, nt, nk, ng); curves: (nc, nt, nk, nr). -1 marks "no objects". Only detections whose
 * state differs from "unmatched" are visited per threshold; a running count per group does the rest.
 */
int lth_accumulate(int64_t nk, int64_t nt, int64_t ng, const int64_t *koff, const int64_t *order, const int32_t *rank,
                   int64_t nd, const uint64_t *hit, const uint64_t *ignored, const uint64_t *din, const double *npos,
                   const double *norm, int64_t nl, const int32_t *limits, int64_t nr, const double *rec, int64_t nc,
                   const int32_t *curve_of, double *ap, double *apn, double *recall, double *curves) {
  uint64_t all = ng == 64 ? ~(uint64_t)0 : (((uint64_t)1 << ng) - 1);
  int64_t status = 1, most = 1, longest = 1;
  for (int64_t k = 0; k < nk; ++k) {
    int64_t sum = 0;
    for (int64_t g = 0; g < ng; ++g) sum += (int64_t)npos[k * ng + g];
    if (sum > most) most = sum;
    if (koff[k + 1] - koff[k] > longest) longest = koff[k + 1] - koff[k];
  }
  double *rc = malloc((size_t)most * sizeof *rc), *pr = malloc((size_t)most * sizeof *pr);
  double *prn = malloc((size_t)most * sizeof *prn);
  int32_t *base = malloc((size_t)(longest * ng) * sizeof *base);
  int64_t *first = malloc((size_t)(ng + 1) * sizeof *first), *hits = malloc((size_t)ng * sizeof *hits);
  int64_t *extra = malloc((size_t)ng * sizeof *extra), *early = malloc((size_t)(ng * nl) * sizeof *early);
  if (!rc || !pr || !prn || !base || !first || !hits || !extra || !early) goto end;
  for (int64_t k = 0; k < nk; ++k) {
    int64_t a = koff[k], n = koff[k + 1] - a;
    first[0] = 0;
    for (int64_t g = 0; g < ng; ++g) first[g + 1] = first[g] + (int64_t)npos[k * ng + g];
    for (int64_t i = 0; i < n; ++i) {
      uint64_t b = din[order[a + i]];
      int32_t *to = base + i * ng;
      for (int64_t g = 0; g < ng; ++g) to[g] = (i ? to[g - ng] : 0) + (int32_t)((b >> g) & 1);
    }
    for (int64_t t = 0; t < nt; ++t) {
      const uint64_t *h = hit + t * nd, *ig = ignored + t * nd;
      memset(hits, 0, (size_t)ng * sizeof *hits);
      memset(extra, 0, (size_t)ng * sizeof *extra);
      memset(early, 0, (size_t)(ng * nl) * sizeof *early);
      for (int64_t i = 0; i < n; ++i) {
        int64_t d = order[a + i];
        uint64_t live = ~ig[d] & all, b = din[d] & all, x = h[d] | (live ^ b);
        while (x) {
          int g = __builtin_ctzll(x);
          x &= x - 1;
          extra[g] += (int64_t)((live >> g) & 1) - (int64_t)((b >> g) & 1);
          if (!((h[d] >> g) & 1)) continue;
          int64_t at = first[g] + hits[g];
          double tp = (double)++hits[g], fp = (double)(base[i * ng + g] + extra[g]) - tp;
          rc[at] = tp / npos[k * ng + g];
          pr[at] = tp / (fp + tp + TINY);
          if (norm) prn[at] = tp * norm[k * ng + g] / (fp + tp * norm[k * ng + g] + TINY);
          for (int64_t l = 0; l < nl; ++l) early[l * ng + g] += rank[d] < limits[l];
        }
      }
      for (int64_t g = 0; g < ng; ++g) {
        int64_t cell = (t * nk + k) * ng + g;
        double *curve = NULL;
        for (int64_t c = 0; c < nc; ++c)
          if (curve_of[c] == g) curve = curves + ((c * nt + t) * nk + k) * nr;
        if (npos[k * ng + g] == 0) {
          ap[cell] = -1;
          if (norm) apn[cell] = -1;
          for (int64_t l = 0; l < nl; ++l) recall[l * nt * nk * ng + cell] = -1;
          for (int64_t r = 0; curve && r < nr; ++r) curve[r] = -1;
          continue;
        }
        ap[cell] = area_under(rc + first[g], pr + first[g], hits[g], rec, nr, curve);
        if (norm) apn[cell] = area_under(rc + first[g], prn + first[g], hits[g], rec, nr, NULL);
        for (int64_t l = 0; l < nl; ++l)
          recall[l * nt * nk * ng + cell] = (double)early[l * ng + g] / npos[k * ng + g];
      }
    }
  }
  status = 0;
end:
  free(rc);
  free(pr);
  free(prn);
  free(base);
  free(first);
  free(hits);
  free(extra);
  free(early);
  return (int)status;
}

typedef struct {
  int64_t place; /* which of the class's stored running sums */
  int32_t image;
  float counts; /* +1: counts although an unmatched detection would not, -1: the other way round, 0: no difference */
  float hit;
} event_t;

/* One class, one threshold, LANES replicates: AP per lane. rc, pr hold events x LANES. */
WIDE static void class_lanes(const event_t *ev, int64_t n, const double *w, const double *run, const double *np,
                             double *rc, double *pr, const double *rec, int64_t nr, double *ap) {
  double hits[LANES] = {0}, extra[LANES] = {0}, top[LANES] = {0}, inv[LANES];
  int64_t done[LANES] = {0};
  for (int l = 0; l < LANES; ++l) inv[l] = np[l] > 0 ? np[l] : 1;
  for (int64_t e = 0; e < n; ++e) {
    const double *x = w + (int64_t)ev[e].image * LANES, *base = run + ev[e].place * LANES;
    double counts = ev[e].counts, hit = ev[e].hit;
    for (int l = 0; l < LANES; ++l) {
      hits[l] += hit * x[l];
      extra[l] += counts * x[l];
      rc[e * LANES + l] = hits[l] / inv[l];
      pr[e * LANES + l] = hits[l] / (base[l] + extra[l] + TINY);
    }
  }
  for (int64_t e = n - 1; e >= 0; --e)
    for (int l = 0; l < LANES; ++l) {
      top[l] = larger(top[l], pr[e * LANES + l]);
      pr[e * LANES + l] = top[l];
    }
  for (int l = 0; l < LANES; ++l) ap[l] = 0;
  for (int64_t e = 0; e < n; ++e)
    for (int l = 0; l < LANES; ++l) {
      double r = rc[e * LANES + l];
      if (done[l] >= nr || rec[done[l]] > r) continue;
      int64_t to = reached(r, rec, nr);
      ap[l] += pr[e * LANES + l] * (double)(to - done[l]);
      done[l] = to;
    }
  for (int l = 0; l < LANES; ++l) ap[l] = np[l] > 0 ? ap[l] / (double)nr : -1;
}

/* What a class's replicates walk: for every threshold its events up to the last hit (nothing after it can change AP), and
 * the positions at which the running weight of detections that count when unmatched is read. */
typedef struct {
  event_t *ev;     /* all events, by (class, threshold) */
  int64_t *kept;   /* (nk * nt + 1) first event of a (class, threshold) */
  int64_t *need;   /* (nk + 1) first reading of a class */
  int64_t *begin;  /* (nk) first entry of a class in unmatched */
  int64_t *stop;   /* per reading: entries of unmatched to have added by then */
  int32_t *unmatched; /* images of the detections that count when unmatched, by class and rank */
  int64_t longest, most; /* largest number of readings of a class, of events of a (class, threshold) */
} plan_t;

typedef struct {
  int64_t nk, nt, nd;
  const int64_t *koff, *order;
  const int32_t *dimg;
  const uint64_t *hit, *ignored, *din;
  int64_t group;
} verdicts_t;

static int is_hit(const verdicts_t *v, int64_t t, int64_t i) { return (v->hit[t * v->nd + v->order[i]] >> v->group) & 1; }
static int counts(const verdicts_t *v, int64_t t, int64_t i) {
  return !((v->ignored[t * v->nd + v->order[i]] >> v->group) & 1);
}
static int base(const verdicts_t *v, int64_t i) { return (v->din[v->order[i]] >> v->group) & 1; }
static int is_event(const verdicts_t *v, int64_t t, int64_t i) {
  return is_hit(v, t, i) || counts(v, t, i) != base(v, i);
}

static void free_plan(plan_t *p) {
  free(p->ev);
  free(p->kept);
  free(p->need);
  free(p->begin);
  free(p->stop);
  free(p->unmatched);
}

static int make_plan(const verdicts_t *v, plan_t *p) {
  int64_t total = 0, readings = 0, adds = 0;
  memset(p, 0, sizeof *p);
  p->longest = p->most = 1;
  p->kept = malloc((size_t)(v->nk * v->nt + 1) * sizeof *p->kept);
  p->need = malloc((size_t)(v->nk + 1) * sizeof *p->need);
  p->begin = malloc((size_t)(v->nk + 1) * sizeof *p->begin);
  p->stop = malloc((size_t)(v->nd + 1) * sizeof *p->stop);
  p->unmatched = malloc((size_t)(v->nd + 1) * sizeof *p->unmatched);
  int64_t *reading = malloc((size_t)(v->nd + 1) * sizeof *reading);
  if (!p->kept || !p->need || !p->begin || !p->stop || !p->unmatched || !reading) goto fail;
  for (int64_t k = 0; k < v->nk; ++k)
    for (int64_t t = 0; t < v->nt; ++t) {
      int64_t count = 0, last = 0;
      for (int64_t i = v->koff[k]; i < v->koff[k + 1]; ++i) {
        if (!is_event(v, t, i)) continue;
        ++count;
        if (is_hit(v, t, i)) last = count;
      }
      p->kept[k * v->nt + t] = total;
      total += last;
      if (last > p->most) p->most = last;
    }
  p->kept[v->nk * v->nt] = total;
  p->ev = malloc((size_t)(total + 1) * sizeof *p->ev);
  if (!p->ev) goto fail;
  for (int64_t k = 0; k < v->nk; ++k) {
    p->need[k] = readings;
    p->begin[k] = adds;
    for (int64_t i = v->koff[k]; i < v->koff[k + 1]; ++i) {
      int wanted = 0;
      if (base(v, i)) p->unmatched[adds++] = v->dimg[v->order[i]];
      for (int64_t t = 0; t < v->nt && !wanted; ++t) wanted = is_event(v, t, i);
      reading[i] = readings - p->need[k];
      if (wanted) p->stop[readings++] = adds;
    }
    if (readings - p->need[k] > p->longest) p->longest = readings - p->need[k];
    for (int64_t t = 0; t < v->nt; ++t) {
      int64_t at = p->kept[k * v->nt + t], end = p->kept[k * v->nt + t + 1];
      for (int64_t i = v->koff[k]; at < end; ++i)
        if (is_event(v, t, i))
          p->ev[at++] = (event_t){reading[i], v->dimg[v->order[i]], (float)(counts(v, t, i) - base(v, i)),
                                  (float)is_hit(v, t, i)};
    }
  }
  p->need[v->nk] = readings;
  free(reading);
  return 0;
fail:
  free(reading);
  free_plan(p);
  return 1;
}

WIDE static void running_weight(const plan_t *p, int64_t k, const double *w, double *run) {
  double sum[LANES] = {0};
  int64_t at = p->begin[k];
  for (int64_t q = p->need[k]; q < p->need[k + 1]; ++q) {
    for (; at < p->stop[q]; ++at)
      for (int l = 0; l < LANES; ++l) sum[l] += w[(int64_t)p->unmatched[at] * LANES + l];
    memcpy(run + (q - p->need[k]) * LANES, sum, sizeof sum);
  }
}

/* AP (nb, nt, nk) of one group, every image weighted by w (nb, images); -1 where a class has no weighted object. dimg,
 * gimg, gcat: image and class of each detection and annotation. */
int lth_bootstrap(int64_t nb, int64_t images, const double *w, int64_t nk, int64_t nt, const int64_t *koff,
                  const int64_t *order, const int32_t *dimg, int64_t nd, const uint64_t *hit, const uint64_t *ignored,
                  const uint64_t *din, int64_t ngt, const int64_t *gimg, const int64_t *gcat, const uint64_t *gin,
                  int64_t group, int64_t nr, const double *rec, double *ap) {
  verdicts_t v = {nk, nt, nd, koff, order, dimg, hit, ignored, din, group};
  plan_t p;
  if (make_plan(&v, &p)) return 1;
  int status = 1;
  double *block = malloc((size_t)(images * LANES + 1) * sizeof *block), *np = malloc((size_t)(nk * LANES + 1) * sizeof *np);
  double *run = malloc((size_t)(p.longest * LANES) * sizeof *run), *rc = malloc((size_t)(p.most * LANES) * sizeof *rc);
  double *pr = malloc((size_t)(p.most * LANES) * sizeof *pr);
  if (!block || !np || !run || !rc || !pr) goto end;
  for (int64_t b = 0; b < nb; b += LANES) {
    for (int64_t i = 0; i < images; ++i)
      for (int l = 0; l < LANES; ++l) block[i * LANES + l] = b + l < nb ? w[(b + l) * images + i] : 0;
    memset(np, 0, (size_t)(nk * LANES) * sizeof *np);
    for (int64_t j = 0; j < ngt; ++j)
      if ((gin[j] >> group) & 1)
        for (int l = 0; l < LANES; ++l) np[gcat[j] * LANES + l] += block[gimg[j] * LANES + l];
    for (int64_t k = 0; k < nk; ++k) {
      running_weight(&p, k, block, run);
      for (int64_t t = 0; t < nt; ++t) {
        double out[LANES];
        int64_t at = p.kept[k * nt + t];
        class_lanes(p.ev + at, p.kept[k * nt + t + 1] - at, block, run, np + k * LANES, rc, pr, rec, nr, out);
        for (int l = 0; l < LANES && b + l < nb; ++l) ap[((b + l) * nt + t) * nk + k] = out[l];
      }
    }
  }
  status = 0;
end:
  free(block);
  free(np);
  free(run);
  free(rc);
  free(pr);
  free_plan(&p);
  return status;
}

/* A strict reader of plain box results: [{"image_id":1,"category_id":2,"bbox":[x,y,w,h],"score":s}, ...], keys in any
 * order. Anything else (another key, a missing or repeated one, a value of another type, broken JSON) returns -1, and the
 * general reader decides what to say about it. The text must end with a NUL. Numbers round as in Python's float(). */
typedef struct {
  const char *at, *end;
} text_t;

static void skip_space(text_t *t) {
  while (t->at < t->end && (*t->at == ' ' || *t->at == '\n' || *t->at == '\t' || *t->at == '\r')) ++t->at;
}

static int take(text_t *t, char c) {
  skip_space(t);
  if (t->at >= t->end || *t->at != c) return 0;
  ++t->at;
  return 1;
}

static int digits(text_t *t) {
  const char *from = t->at;
  while (t->at < t->end && *t->at >= '0' && *t->at <= '9') ++t->at;
  return t->at > from;
}

/* JSON number; *whole tells whether it has neither fraction nor exponent. */
static int number(text_t *t, double *value, int *whole) {
  static const double ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  skip_space(t);
  const char *from = t->at;
  if (t->at < t->end && *t->at == '-') ++t->at;
  const char *first = t->at;
  if (!digits(t) || (*first == '0' && t->at > first + 1)) return 0;
  const char *point = t->at;
  *whole = 1;
  if (t->at < t->end && *t->at == '.') {
    *whole = 0;
    ++t->at;
    if (!digits(t)) return 0;
  }
  const char *last = t->at;
  if (t->at < t->end && (*t->at == 'e' || *t->at == 'E')) {
    *whole = 0;
    ++t->at;
    if (t->at < t->end && (*t->at == '+' || *t->at == '-')) ++t->at;
    if (!digits(t)) return 0;
    *value = strtod(from, NULL);
    return 1;
  }
  if (last - first <= 16) { /* at most 15 or 16 digits: exact as an integer below 2^53, then one rounding */
    int64_t mantissa = 0;
    for (const char *c = first; c < last; ++c)
      if (*c != '.') mantissa = mantissa * 10 + (*c - '0');
    if (mantissa < ((int64_t)1 << 53)) {
      double v = (double)mantissa / ten[last > point ? last - point - 1 : 0];
      *value = *from == '-' ? -v : v;
      return 1;
    }
  }
  *value = strtod(from, NULL);
  return 1;
}

static int whole_number(text_t *t, int64_t *value) {
  skip_space(t);
  const char *from = t->at;
  double v;
  int whole;
  if (!number(t, &v, &whole) || !whole || t->at - from > 15) return 0;
  *value = (int64_t)v;
  return 1;
}

static int any_number(text_t *t, double *value) {
  int whole;
  return number(t, value, &whole);
}

static int box_value(text_t *t, double *box) {
  if (!take(t, '[')) return 0;
  for (int i = 0; i < 4; ++i)
    if ((i && !take(t, ',')) || !any_number(t, box + i)) return 0;
  return take(t, ']');
}

static int key(text_t *t) {
  static const char *names[] = {"image_id\"", "category_id\"", "score\"", "bbox\""};
  if (!take(t, '"')) return -1;
  for (int i = 0; i < 4; ++i) {
    int64_t n = (int64_t)strlen(names[i]);
    if (t->end - t->at >= n && !memcmp(t->at, names[i], (size_t)n)) {
      t->at += n;
      return take(t, ':') ? i : -1;
    }
  }
  return -1;
}

int64_t lth_read_results(const char *text, int64_t length, int64_t most, int64_t *image, int64_t *category,
                         double *score, double *box) {
  text_t t = {text, text + length};
  int64_t n = 0;
  if (!take(&t, '[')) return -1;
  if (!take(&t, ']')) {
    do {
      int seen = 0;
      if (n >= most || !take(&t, '{')) return -1;
      do {
        int k = key(&t), ok;
        if (k < 0 || (seen >> k) & 1) return -1;
        seen |= 1 << k;
        if (k == 0) ok = whole_number(&t, image + n);
        else if (k == 1) ok = whole_number(&t, category + n);
        else if (k == 2) ok = any_number(&t, score + n);
        else ok = box_value(&t, box + 4 * n);
        if (!ok) return -1;
      } while (take(&t, ','));
      if (seen != 15 || !take(&t, '}')) return -1;
      ++n;
    } while (take(&t, ','));
    if (!take(&t, ']')) return -1;
  }
  skip_space(&t);
  return t.at == t.end ? n : -1;
}
