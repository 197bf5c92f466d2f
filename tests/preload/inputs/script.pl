# Hashes, strings, regular expressions, sorting, closures, threads of processes: script.pl COUNT.
use strict;
use warnings;
my $count = shift;
my (%index, @rows);
for my $i (0 .. $count) {
  my $key = sprintf '%05x', $i * 7919 % 65537;
  push @{$index{substr $key, 0, 3}}, { key => $key, text => 'x' x ($i % 60), number => $i };
  push @rows, "$key:" . join ',', map { $_ * $i % 97 } 1 .. 5;
}
for my $prefix (sort keys %index) {
  my @sorted = sort { $b->{number} <=> $a->{number} || $a->{key} cmp $b->{key} } @{$index{$prefix}};
  next if $sorted[0]{number} % 50;
  print "$prefix ", scalar(@sorted), " $sorted[0]{key} ", length($sorted[-1]{text}), "\n";
}
my $text = join "\n", @rows;
my $found = () = $text =~ /\b([0-9a-f]{2})\1?[0-9a-f]*:(?=\d+,1)/g;
(my $changed = $text) =~ s/(\d+),(\d+)/$2 . '-' . length $1/ge;
print "$found ", length $changed, " ", unpack('%32C*', $changed), "\n";
my @closures = map { my $n = $_; sub { $n += shift; $n } } 1 .. 1000;
print $closures[$_]->($_) + $closures[$_]->(1), ' ' for 0, 10, 999;
print "\n";
for my $n (1 .. 4) {
  my $pid = open(my $child, '-|') // die;
  if (!$pid) { my %own = map { ($_ => 'c' x $_) } 1 .. 500 * $n; print scalar(keys %own), "\n"; exit $n; }
  print "child: ", <$child>;
  close $child;
  print "exit ", $? >> 8, "\n";
}
my $deep = [];
$deep = [$deep, $_] for 1 .. 20000;
my ($depth, $at) = (0, $deep);
while (@$at) { $at = $at->[0]; ++$depth; }
print "$depth\n";
while (@$deep) { $deep = $deep->[0]; }
print join(' ', map { sprintf '%.6g', sqrt $_ } 1 .. 10), "\n", unpack('H*', pack 'N/a* w', 'packed', 300), "\n";
