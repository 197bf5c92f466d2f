<?xml version="1.0"?>
<!-- Groups, sorts and adds up the items. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:output method="html" indent="yes"/>
  <xsl:key name="by-group" match="item" use="@group"/>
  <xsl:template match="/items">
    <html><body>
      <xsl:for-each select="item[generate-id() = generate-id(key('by-group', @group)[1])]">
        <xsl:sort select="@group" data-type="number"/>
        <xsl:variable name="members" select="key('by-group', @group)"/>
        <h2><xsl:value-of select="concat(@group, ': ', count($members), ', ', sum($members/size))"/></h2>
        <ul>
          <xsl:for-each select="$members">
            <xsl:sort select="size" data-type="number" order="descending"/>
            <xsl:sort select="name"/>
            <li>
              <xsl:value-of select="translate(name, 'aeiou', 'AEIOU')"/>
              <b><xsl:value-of select="normalize-space(note)"/></b>
            </li>
          </xsl:for-each>
        </ul>
      </xsl:for-each>
    </body></html>
  </xsl:template>
</xsl:stylesheet>
