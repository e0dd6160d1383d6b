#!/bin/bash
# report.sh CSV   the README's table: medians per cell, and each as a ratio to Postfix plain in the same run
awk -F, '
  function med(key, col,   n, i, j, t, a, list) {
    n = split(idx[key], list, " ")
    for (i = 1; i <= n; i++) a[i] = v[list[i], col] + 0
    for (i = 2; i <= n; i++) for (j = i; j > 1 && a[j] < a[j - 1]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
    return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
  }
  NR == 1 || $25 == "dropped" { next }
  $25 == "failed" { print "FAILED: " $1 " " $3 " B, " $6 " sessions" > "/dev/stderr"; next }
  { key = $3 SUBSEP $6 SUBSEP $1
    if (!(($3, $6) in cell)) { cell[$3, $6] = 1; order[++k] = $3 SUBSEP $6 }
    for (c = 1; c <= 26; c++) v[NR, c] = $c
    idx[key] = idx[key] " " NR; runs[key]++; if ($25 == "ok") ok[key]++ }
  END {
    print "| size | sessions | relay | messages/s | × Postfix plain | CPU s per 1,000 | peak memory MiB | runs (undisturbed) |"
    print "|---|---|---|---|---|---|---|---|"
    split("postvagt postfix-plain postfix-milter", name, " ")
    split("Postvagt, inspecting everything|Postfix plain|Postfix + rspamd, one rule", words, "|")
    for (i = 1; i <= k; i++) for (n = 1; n <= 3; n++) {
      split(order[i], p, SUBSEP); key = order[i] SUBSEP name[n]; base = order[i] SUBSEP "postfix-plain"
      if (!(key in idx)) continue
      ratio = (base in idx && med(base, 10) > 0) ? sprintf("%.2f", med(key, 10) / med(base, 10)) : "-"
      printf "| %d KiB | %d | %s | %.0f | %s | %.2f | %.0f | %d (%d) |\n", p[1] / 1024, p[2], words[n], med(key, 10), ratio, med(key, 12), med(key, 15), runs[key], ok[key]
    }
  }' "$1"
