-- Tables, indexes, joins, JSON, full text: @ROWS@ rows.
pragma journal_mode = wal;
pragma cache_size = 500;
create table item(id integer primary key, name text, size real, body blob);
with recursive n(i) as (select 1 union all select i + 1 from n where i < @ROWS@)
  insert into item select i, 'name' || (i * 7919 % @ROWS@), i * 1.5, zeroblob(i % 200) from n;
create index by_name on item(name);
select count(*), sum(size), max(length(body)) from item;
select name, size from item where name like 'name12%' order by name limit 40;
select substr(name, 1, 6) as prefix, count(*), group_concat(id % 10) from item
  group by prefix order by 2 desc, 1 limit 20;
update item set name = upper(name) where id % 3 = 0;
delete from item where id % 5 = 0;
select a.name, b.name from item a join item b on a.id = b.id + 3 order by a.size desc limit 30;
create virtual table text using fts5(body);
insert into text select name || ' ' || id from item where id % 10 = 1;
select count(*) from text where text match 'name12*';
select json_group_array(json_object('id', id, 'name', name)) from (select id, name from item limit 500);
vacuum;
pragma integrity_check;
